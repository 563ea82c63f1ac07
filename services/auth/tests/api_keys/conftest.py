"""API keys of the service in this process."""

import httpx
import pytest
from fastapi import FastAPI
from key_support import Keys


@pytest.fixture
def keys(app: FastAPI, client: httpx.AsyncClient) -> Keys:
    return Keys(app, client)
