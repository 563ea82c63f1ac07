"""The storages that all do the same, and what only one of them is."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from kpi_kit.storage import Storage, StorageFake
from storage_support import bucket_url, run_moto


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    with run_moto() as url:
        yield url


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
async def local(root: Path) -> AsyncIterator[Storage]:
    async with Storage.from_url(f"file://{root}?public_url=https%3A%2F%2Ffiles.example.com%2Fx%2F") as storage:
        yield storage


@pytest.fixture
def prefix() -> str:
    """Its own for each test, so that the bucket need not be emptied."""
    return f"stage/{secrets.token_hex(8)}"


@pytest.fixture
async def s3(aws: str, prefix: str) -> AsyncIterator[Storage]:
    url = f"{bucket_url(aws, prefix)}&public_url=https%3A%2F%2Ffiles.example.com%2Fx"
    async with Storage.from_url(url) as storage:
        yield storage


@pytest.fixture
async def memory() -> AsyncIterator[Storage]:
    async with Storage.from_url("memory://?public_url=https%3A%2F%2Ffiles.example.com%2Fx") as storage:
        yield storage


@pytest.fixture
async def fake() -> AsyncIterator[StorageFake]:
    async with StorageFake() as storage:
        yield storage


@pytest.fixture(params=["local", "s3", "memory", "fake"])
def storage(request: pytest.FixtureRequest) -> Storage:
    found: Storage = request.getfixturevalue(request.param)
    return found
