from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cache_support import PASSWORD, Case
from kpi_kit.cache import Cache
from redis_support import PROGRAM, RedisServer, redis_server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for all tests that do not disturb it; each test has a database that is empty."""
    if PROGRAM is None:
        pytest.skip("no redis-server on this machine (Debian: redis-server)")
    with redis_server(tmp_path_factory.mktemp("redis"), password=PASSWORD) as server:
        yield server


@pytest.fixture(params=["fake", "memory", "disk", "redis"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    name: str = request.param
    if name == "redis":
        port = request.getfixturevalue("redis").port
        return Case(name, f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/0")
    return Case(name, {"disk": f"disk://{tmp_path}/cache"}.get(name, f"{name}://"))


@pytest.fixture
async def cache(case: Case) -> AsyncIterator[Cache]:
    async with case.build() as found:
        await found.flush()
        yield found


@pytest.fixture
async def other(case: Case, cache: Cache) -> AsyncIterator[Cache]:
    """Another process's view of the same values, where the driver has one."""
    if not case.is_shared:
        yield cache
        return
    async with case.build() as found:
        yield found
