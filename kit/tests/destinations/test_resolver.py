"""Look-ups of hosts: a name server that hangs delays no other host, and holds one thread for each of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from destination_support import make_destinations
from kpi_kit import resolver
from kpi_kit.destinations import Destination, Destinations, UnavailableDestinationError
from kpi_kit.resolver import SystemResolver

PUBLIC = "93.184.215.14"


@pytest.fixture
async def system() -> AsyncIterator[SystemResolver]:
    made = SystemResolver()
    yield made
    made.close()


@pytest.fixture
def found(system: SystemResolver) -> Destinations:
    return make_destinations(system)


async def find(found: Destinations, url: str) -> Destination:
    return await found.find(url, seconds=5)


async def test_a_name_server_that_hangs_holds_one_thread_for_each_host(
    found: Destinations, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, calls = threading.Event(), []

    def hang(host: str) -> list[str]:
        calls.append(host)
        if host == "hanging.example":
            released.wait(30)
        return [PUBLIC]

    monkeypatch.setattr(resolver, "_look_up", hang)
    try:
        for _ in range(5):
            with pytest.raises(UnavailableDestinationError, match="in time"):
                await found.find("https://hanging.example/", seconds=0.02)
            with pytest.raises(UnavailableDestinationError, match="in time"):
                await found.find("https://hanging.example:8443/", seconds=0.02)
        assert (await find(found, "https://other.example/")).addresses
        assert calls == ["hanging.example", "other.example"]
    finally:
        released.set()
    # The look-up that hung has ended, and the next one begins anew.
    assert (await find(found, "https://hanging.example/")).addresses


async def test_all_who_ask_for_a_host_share_a_look_up_and_none_is_kept(
    found: Destinations, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    asked = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        if host == "silent.example.com":
            is_over.wait(30)
        return ["8.8.8.8"]

    monkeypatch.setattr(resolver, "_look_up", look_up)
    waiting = [asyncio.create_task(found.find("https://silent.example.com/", seconds=20)) for _ in range(70)]
    assert (await find(found, "https://good.example.com/")).host == "good.example.com"
    is_over.set()
    assert {str(each.addresses[0]) for each in await asyncio.gather(*waiting)} == {"8.8.8.8"}
    assert sorted(asked) == ["good.example.com", "silent.example.com"]
    # A look-up that has ended is not kept: the next one may find another address.
    await find(found, "https://good.example.com/")
    assert asked[2:] == ["good.example.com"]


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Hosts whose name servers do not answer as long as they are in this set."""
    hosts: set[str] = set()
    is_over = threading.Event()

    def look_up(host: str) -> list[str]:
        while host in hosts and not is_over.wait(0.01):
            pass
        return [PUBLIC]

    monkeypatch.setattr(resolver, "_look_up", look_up)
    yield hosts
    is_over.set()
    for thread in threading.enumerate():
        if thread.name == "kpi-kit-resolver":
            thread.join(10)


async def give_up(found: Destinations, *hosts: str) -> None:
    refused = await asyncio.gather(
        *[found.find(f"https://{host}/", seconds=0.2) for host in hosts], return_exceptions=True
    )
    assert [str(error) for error in refused] == [f"the host {host} could not be resolved in time" for host in hosts]


async def test_hosts_that_hang_leave_threads_to_those_that_were_resolved(
    found: Destinations, hanging: set[str]
) -> None:
    await find(found, "https://known.example/")
    dead = [f"dead{n}.example" for n in range(60)]
    hanging.update(dead)
    await give_up(found, *dead)
    assert (await find(found, "https://known.example/")).addresses
    # One that was not resolved yet waits for a place that becomes free.
    waits = asyncio.create_task(found.find("https://new.example/", seconds=60))
    await give_up(found, *dead)
    assert not waits.done()
    hanging.clear()
    assert (await waits).addresses


async def test_a_host_that_hangs_is_no_longer_known(
    system: SystemResolver, found: Destinations, hanging: set[str]
) -> None:
    await find(found, "https://fickle.example/")
    hanging.add("fickle.example")
    await give_up(found, "fickle.example")
    # The look-up that its callers have given up succeeds late.
    lookup = system._lookups["fickle.example"]
    hanging.clear()
    await lookup
    dead = [f"dead{n}.example" for n in range(60)]
    hanging.update(dead)
    await give_up(found, *dead)
    await give_up(found, "fickle.example")


async def test_a_closed_resolver_looks_nothing_up_and_keeps_no_place(system: SystemResolver, hanging: set[str]) -> None:
    hanging.add("hanging.example")
    lookup = asyncio.create_task(system("hanging.example"))
    await asyncio.sleep(0)
    # A process does not wait for such a thread at its end.
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "kpi-kit-resolver"] == [True]
    system.close()
    for n in range(20):
        with pytest.raises(OSError, match="closed"):
            await asyncio.wait_for(system(f"late{n}.example"), 30)
    hanging.clear()
    assert await lookup == [PUBLIC]
