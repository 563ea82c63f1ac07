"""Where events may be sent: no address inside the networks of the host, in no spelling (SSRF)."""

import ipaddress
from collections.abc import Iterator, Sequence

import pytest
from destination_support import FixedResolver, make_destinations
from kpi_kit.addresses import is_public
from kpi_kit.destinations import (
    MAX_URL,
    Destination,
    DestinationError,
    Destinations,
    RefusedDestinationError,
    UnavailableDestinationError,
)
from kpi_kit.resolver import SystemResolver

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
    "https://example.com:-1/",
    "https://example.com:8_0/",
    "https://[2606:4700::1]:-1/",
    "https://example.com:port/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://ⓔxample.com/",
    "https://example。com/",
    "https://example.com/" + "a" * (MAX_URL - 19),
]


@pytest.fixture
def system() -> Iterator[Destinations]:
    """With the resolver that production has."""
    resolver = SystemResolver()
    yield make_destinations(resolver)
    resolver.close()


async def find(found: Destinations, url: str = "https://hooks.example.com/x") -> Destination:
    return await found.find(url, seconds=5)


@pytest.mark.parametrize("url", INSIDE)
async def test_no_address_inside_is_a_destination(system: Destinations, url: str) -> None:
    with pytest.raises(DestinationError, match=r"not public|cannot be|not valid"):
        await find(system, url)


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_url_is_refused_before_its_host_is_resolved(url: str) -> None:
    resolver = FixedResolver([PUBLIC])
    with pytest.raises(RefusedDestinationError):
        await find(make_destinations(resolver), url)
    assert resolver.hosts == []


@pytest.mark.parametrize(
    "address", [PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"]
)
async def test_a_public_address_is_a_destination(address: str) -> None:
    found = await find(make_destinations(FixedResolver([address])))
    assert [str(one) for one in found.addresses] == [str(ipaddress.ip_address(address))]


@pytest.mark.parametrize("others", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1", PUBLIC], [PUBLIC, "fe80::1%eth0"], []])
async def test_every_address_of_a_host_must_be_public(others: Sequence[str]) -> None:
    with pytest.raises(RefusedDestinationError):
        await find(make_destinations(FixedResolver(others)))


async def test_networks_that_are_not_public_can_be_allowed() -> None:
    allowed = ("10.1.0.0/16", "fd00::/8")
    assert (await find(make_destinations(FixedResolver(["10.1.2.3", "fd00::1", PUBLIC]), *allowed))).addresses
    for other in ("10.2.0.1", "127.0.0.1", "fc00::1"):
        with pytest.raises(RefusedDestinationError, match="not public") as refusal:
            await find(make_destinations(FixedResolver(["10.1.2.3", other]), *allowed))
        # Which addresses names have inside is not for those outside.
        assert other not in str(refusal.value)


@pytest.mark.parametrize(
    "host", ["xn--strae-oqa.de", "XN--STRAE-OQA.de.", "xn--ls8h.la", "xn--0", "xn--", "xn--a.de:8443"]
)
async def test_an_internationalised_host_is_looked_up_as_it_is_written(host: str) -> None:
    """Decoded and encoded again, the first of these would be strasse.de, which has another owner."""
    resolver = FixedResolver([PUBLIC])
    found = await find(make_destinations(resolver), f"https://{host}/x")
    expected = host.partition(":")[0].rstrip(".").lower()
    assert (found.host, resolver.hosts) == (expected, [expected])


@pytest.mark.parametrize("host", ["xn--0", "xn--", "a" * 64, "a..b", ".", "..", "-"])
async def test_a_host_that_no_name_server_can_know_is_no_destination(system: Destinations, host: str) -> None:
    with pytest.raises(DestinationError):
        await find(system, f"https://{host}/")


async def test_a_failed_look_up_may_pass_but_that_of_an_impossible_name(system: Destinations) -> None:
    with pytest.raises(UnavailableDestinationError, match="invalid cannot be resolved") as failure:
        await find(system, "http://nothing.invalid/")
    # What channels say of an address of theirs.
    assert failure.value.reason == "the host cannot be resolved"
    with pytest.raises(RefusedDestinationError, match="cannot be resolved"):
        await find(system, f"https://{'a' * 64}.example.com/")


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
