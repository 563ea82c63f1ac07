"""Where events may be sent: no address inside the networks of the host, in no spelling (SSRF)."""

import asyncio
import ipaddress
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks import destinations
from kpi_auth.webhooks.destinations import Destination, Destinations, SystemResolver, get_receiver
from kpi_auth.webhooks.errors import RefusedDestinationError
from kpi_kit.addresses import is_public
from kpi_shared.settings import Environment
from webhook_support import FixedResolver

PUBLIC = "93.184.215.14"
# Each resolves to an address that is not public, or is one.
INSIDE = [
    "http://127.0.0.1/",
    "http://127.0.0.1:8001/internal/feed/events",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://localhost/",
    "http://localhost./",
    "http://10.0.0.1/",
    "http://172.16.5.4/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254./latest/meta-data/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/metadata",
    "http://192.0.0.192/opc/v2/",
    "http://198.18.0.1/",
    "http://203.0.113.5/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2002:0a00:0001::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
]
# None of these is a URL that may be used, wherever its host leads.
MALFORMED = [
    "",
    "https://",
    "https:///path",
    "//example.com/",
    "example.com/hook",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "unix:/run/docker.sock",
    "javascript:alert(1)",
    "https://user:password@example.com/",
    "https://user@example.com/",
    "https://@example.com/",
    "https://example.com#fragment",
    "https://example.com/#",
    "https://example.com#@127.0.0.1/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com\\.127.0.0.1/",
    "https://example.com/ path",
    "https://exam ple.com/",
    "https://example.com/\r\nHost: inside",
    "https://example.com/\x00",
    "\thttps://example.com/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:port/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://ⓔxample.com/",
    "https://example。com/",
    "https://example.com/" + "a" * 2048,
]


@pytest.fixture
def system(settings: AuthSettings) -> Destinations:
    """With the resolver that production has, and without TLS, so that the address decides."""
    return Destinations(settings.model_copy(update={"webhook_allow_http": True}), SystemResolver())


def of(settings: AuthSettings, *addresses: str, **changes: Any) -> Destinations:
    return Destinations(settings.model_copy(update=changes), FixedResolver(addresses))


async def find(found: Destinations, url: str = "https://hooks.example.com/x") -> Destination:
    return await found.find(url, seconds=5)


@pytest.mark.parametrize("url", INSIDE)
async def test_no_address_inside_is_a_destination(system: Destinations, url: str) -> None:
    with pytest.raises(RefusedDestinationError, match=r"not public|cannot be|not a URL"):
        await find(system, url)


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_url_is_refused_before_its_host_is_resolved(settings: AuthSettings, url: str) -> None:
    resolver = FixedResolver([PUBLIC])
    with pytest.raises(RefusedDestinationError):
        await find(Destinations(settings.model_copy(update={"webhook_allow_http": True}), resolver), url)
    assert resolver.hosts == []


@pytest.mark.parametrize(
    "address", [PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"]
)
async def test_a_public_address_is_a_destination(settings: AuthSettings, address: str) -> None:
    found = await find(of(settings, address))
    assert [str(one) for one in found.addresses] == [str(ipaddress.ip_address(address))]


@pytest.mark.parametrize("others", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1", PUBLIC], [PUBLIC, "fe80::1%eth0"], []])
async def test_every_address_of_a_host_must_be_public(settings: AuthSettings, others: Sequence[str]) -> None:
    with pytest.raises(RefusedDestinationError):
        await find(of(settings, *others))


async def test_a_setting_allows_networks_that_are_not_public(settings: AuthSettings) -> None:
    allowed = {"webhook_allowed_networks": ("10.1.0.0/16", "fd00::/8")}
    assert (await find(of(settings, "10.1.2.3", "fd00::1", PUBLIC, **allowed))).addresses
    for other in ("10.2.0.1", "127.0.0.1", "fc00::1"):
        with pytest.raises(RefusedDestinationError, match="not public") as refusal:
            await find(of(settings, "10.1.2.3", other, **allowed))
        # Which addresses names have inside is not for those outside.
        assert other not in str(refusal.value)


@pytest.mark.parametrize(
    "host", ["xn--strae-oqa.de", "XN--STRAE-OQA.de.", "xn--ls8h.la", "xn--0", "xn--", "xn--a.de:8443"]
)
async def test_an_internationalised_host_is_looked_up_as_it_is_written(settings: AuthSettings, host: str) -> None:
    """Decoded and encoded again, the first of these would be strasse.de, which has another owner."""
    resolver = FixedResolver([PUBLIC])
    found = await find(Destinations(settings, resolver), f"https://{host}/x")
    expected = host.partition(":")[0].rstrip(".").lower()
    assert (found.host, resolver.hosts) == (expected, [expected])


@pytest.mark.parametrize("host", ["xn--0", "xn--", "a" * 64, "a..b", ".", "..", "-"])
async def test_a_host_that_no_name_server_can_know_is_refused(system: Destinations, host: str) -> None:
    with pytest.raises(RefusedDestinationError):
        await find(system, f"https://{host}/")


def test_the_receiver_of_a_url_is_its_scheme_host_and_port() -> None:
    assert get_receiver("https://hooks.example.com/services/T0/secret?key=secret") == "https://hooks.example.com"
    assert get_receiver("https://xn--0:8443/secret") == "https://xn--0:8443"
    assert get_receiver("http://[2606:4700::1]:80/secret") == "http://[2606:4700::1]"


@pytest.mark.parametrize(
    ("environment", "setting", "is_allowed"),
    [
        ("production", None, False),
        ("production", True, True),
        ("development", None, True),
        ("development", False, False),
    ],
)
async def test_production_requires_tls_unless_a_setting_says_otherwise(
    settings: AuthSettings, environment: str, setting: bool | None, is_allowed: bool
) -> None:
    chosen = of(settings, PUBLIC, app_env=Environment(environment), webhook_allow_http=setting)
    assert (await find(chosen, "https://hooks.example.com:8443/x")).url.port == 8443
    if is_allowed:
        assert await find(chosen, "http://hooks.example.com/x")
    else:
        with pytest.raises(RefusedDestinationError, match="must begin with https"):
            await find(chosen, "http://hooks.example.com/x")


async def test_a_host_that_cannot_be_resolved_is_no_destination(system: Destinations) -> None:
    with pytest.raises(RefusedDestinationError, match="cannot be resolved"):
        await find(system, "http://nothing.invalid/")


async def test_a_resolver_that_hangs_holds_one_thread_for_each_host(
    settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, calls = threading.Event(), []

    def hang(host: str) -> list[str]:
        calls.append(host)
        if host == "hanging.example":
            released.wait(30)
        return [PUBLIC]

    monkeypatch.setattr(destinations, "_look_up", hang)
    found = Destinations(settings, SystemResolver())
    try:
        for _ in range(5):
            with pytest.raises(RefusedDestinationError, match="in time"):
                await found.find("https://hanging.example/", seconds=0.02)
            with pytest.raises(RefusedDestinationError, match="in time"):
                await found.find("https://hanging.example:8443/", seconds=0.02)
        assert (await find(found, "https://other.example/")).addresses
        assert calls == ["hanging.example", "other.example"]
    finally:
        released.set()
    # The look-up that hung has ended, and the next one begins anew.
    assert (await find(found, "https://hanging.example/")).addresses


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Hosts whose name servers do not answer as long as they are in this set."""
    hosts: set[str] = set()
    is_over = threading.Event()

    def look_up(host: str) -> list[str]:
        while host in hosts and not is_over.wait(0.01):
            pass
        return [PUBLIC]

    monkeypatch.setattr(destinations, "_look_up", look_up)
    yield hosts
    is_over.set()


async def give_up(found: Destinations, *hosts: str) -> None:
    refused = await asyncio.gather(
        *[found.find(f"https://{host}/", seconds=0.2) for host in hosts], return_exceptions=True
    )
    assert [str(error) for error in refused] == [f"The host {host} could not be resolved in time" for host in hosts]


async def test_hosts_that_hang_leave_threads_to_those_that_were_resolved(
    settings: AuthSettings, hanging: set[str]
) -> None:
    found = Destinations(settings, SystemResolver())
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


async def test_a_host_that_hangs_is_no_longer_known(settings: AuthSettings, hanging: set[str]) -> None:
    found = Destinations(settings, SystemResolver())
    await find(found, "https://fickle.example/")
    hanging.add("fickle.example")
    await give_up(found, "fickle.example")
    # The look-up that its callers have given up succeeds late.
    lookup = found._resolve._lookups["fickle.example"]  # type: ignore[attr-defined]
    hanging.clear()
    await lookup
    dead = [f"dead{n}.example" for n in range(60)]
    hanging.update(dead)
    await give_up(found, *dead)
    await give_up(found, "fickle.example")


def test_forms_of_inside_addresses_in_ipv6_are_not_public() -> None:
    inside = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "192.168.0.1", "172.31.255.255"]
    for text in inside:
        number = int(ipaddress.IPv4Address(text))
        forms = [
            ipaddress.IPv6Address(number),
            ipaddress.IPv6Address((0xFFFF << 32) | number),
            ipaddress.IPv6Address((0x64FF9B << 96) | number),
            ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
        ]
        assert not any(is_public(form) for form in [ipaddress.IPv4Address(text), *forms])
