"""Addresses, with and without a name."""

import pytest
from kpi_kit.mail.addresses import read_address, read_mailbox


@pytest.mark.parametrize(
    "text",
    [
        "nobody",
        "",
        "A <a@example.com>\r\nBcc: b@example.com",
        "a@",
        "@example.com",
        " .@example.com",
        ". <a@b.c>",
        "group:>;: <a@b.c>",
    ],
)
def test_a_sender_is_one_address(text: str) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        read_mailbox(text)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("anna@example.com", "", "anna@example.com"),
        ("Anna B. C. <anna@example.com>", "Anna B. C.", "anna@example.com"),
        ('"B, Anna" <anna@example.com>', "B, Anna", "anna@example.com"),
        ("Änna <änna@bücher.example>", "Änna", "änna@xn--bcher-kva.example"),
        ("=?utf-8?q?=C3=84nna?= <anna@example.com>", "Änna", "anna@example.com"),
        ('"a b"@example.com', "", '"a b"@example.com'),
        ("anna@localhost", "", "anna@localhost"),
    ],
)
def test_a_mailbox_is_a_name_and_an_address(text: str, name: str, address: str) -> None:
    found = read_mailbox(text)
    assert (found.display_name, found.addr_spec) == (name, address)


@pytest.mark.parametrize("text", ["Anna <anna@example.com>", "<anna@example.com>", "anna@example.com (Anna)", "anna"])
def test_an_address_has_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        read_address(text)
