"""Fixtures that the tests of every part share."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Use one asyncio loop for the whole run, so that an application can start once for many tests."""
    return "asyncio"
