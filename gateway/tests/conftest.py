"""The gateway under test runs on the event loop of production."""

from collections.abc import AsyncIterator

import httpx
import pytest
from gateway_support import Echo, gateway, serving


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
async def echoes() -> AsyncIterator[tuple[Echo, str]]:
    """An upstream that echoes requests, and the address of a gateway in front of it."""
    echo = Echo()
    async with (
        serving(echo) as upstream,
        gateway(auth_url=upstream, content_url=upstream, cors_origins=("https://app.example.com",)) as address,
    ):
        yield echo, address


@pytest.fixture
def echo(echoes: tuple[Echo, str]) -> Echo:
    """The upstream that echoes, without recorded requests."""
    echoes[0].seen.clear()
    return echoes[0]


@pytest.fixture
def address(echoes: tuple[Echo, str], echo: Echo) -> str:
    return echoes[1]


@pytest.fixture
async def client(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        yield client
