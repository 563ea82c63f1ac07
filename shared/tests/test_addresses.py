"""Client addresses from X-Forwarded-For, which clients can forge."""

import pytest
from kpi_shared.addresses import client_address, parse_networks


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6, garbage, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["6.6.6.6, 198.51.100.1:80"], "127.0.0.1"),
        ("127.0.0.1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        ("::ffff:127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("127.0.0.1", ["", " , "], "127.0.0.1"),
        ("", ["198.51.100.1"], None),
    ],
)
def test_the_client_address_is_the_nearest_untrusted_one(peer: str, forwarded: list[str], found: str | None) -> None:
    address = client_address(peer, forwarded, parse_networks(["127.0.0.0/8", "10.0.0.0/8"]))
    assert (str(address) if address else None) == found
