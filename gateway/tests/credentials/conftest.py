"""A gateway that accepts API keys, for each test."""

from collections.abc import AsyncIterator

import pytest
from credential_support import Setup, keyed_gateway


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    async with keyed_gateway() as found:
        yield found
