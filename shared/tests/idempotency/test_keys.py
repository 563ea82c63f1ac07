"""The syntax of Idempotency-Key, whose keys they are, and what is stored of them."""

import ipaddress
from datetime import UTC, datetime

import pytest
from fastapi import Response
from kpi_shared.caller import Role, Subject
from kpi_shared.idempotency.errors import KeyReusedError, MalformedKeyError
from kpi_shared.idempotency.keys import hash_key, owner_of, parse_key
from kpi_shared.idempotency.sealing import ResponseSeal, derive_keys

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("  x\t", "x"),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
        (r'"a \"quoted\" \\ text"', r'a "quoted" \ text'),
        (r"C:\x", r"C:\x"),
        ("~!,;=", "~!,;="),
    ],
)
def test_valid_keys_with_and_without_quotes(line: str, key: str) -> None:
    assert parse_key([line]) == key


@pytest.mark.parametrize(
    "lines",
    [
        *([""], [" "], ['""'], ["x" * 256], [f'"{"x" * 256}"'], ["two words"], ["x\ty"], ["é"], ["x\x7f"]),
        *(['"x'], ['x"'], ['"x"y"'], ['"x";a=1'], ['"x", "y"'], [r'"\x"'], ["x", "x"], ["x", ""]),
    ],
)
def test_everything_else_is_refused(lines: list[str]) -> None:
    with pytest.raises(MalformedKeyError):
        parse_key(lines)


def test_without_the_header_there_is_no_key() -> None:
    assert parse_key([]) is None


def subject(user_id: int, session_id: str) -> Subject:
    return Subject(user_id, "anna", Role.USER, session_id, "jti", datetime.now(UTC))


def test_keys_belong_to_a_person_in_all_sessions_to_each_api_key_and_to_a_clients_network() -> None:
    assert owner_of(subject(1, "5")) == owner_of(subject(1, "6"))
    hosts = [ipaddress.ip_address(f"2001:db8:1:2::{host}") for host in (1, 2)]
    assert owner_of(None, hosts[0]) == owner_of(None, hosts[1])
    owners = {
        *(owner_of(subject(1, "5")), owner_of(subject(2, "5"))),
        *(owner_of(subject(1, "key-1")), owner_of(subject(1, "key-2"))),
        *(owner_of(None), owner_of(None, ipaddress.ip_address("192.0.2.1")), owner_of(None, hosts[0])),
    }
    assert len({hash_key("x", owner) for owner in owners}) == 7
    assert hash_key("x", "user 1") != hash_key("y", "user 1")


def test_a_stored_response_opens_for_the_same_key_request_and_secret_only() -> None:
    response = Response(b'{"key": "secret text"}', 201, {"Location": "/x/1", "X-Other": "no"}, "application/json")
    sealed = ResponseSeal(derive_keys("key", [SECRET]), b"request").seal(response)
    assert "secret text" not in sealed
    for seal in (
        ResponseSeal(derive_keys("key", [SECRET]), b"another request"),
        ResponseSeal(derive_keys("another key", [SECRET]), b"request"),
        ResponseSeal(derive_keys("key", [OTHER]), b"request"),
        ResponseSeal(derive_keys("key", []), b"request"),
    ):
        with pytest.raises(KeyReusedError):
            seal.open(sealed)
    # After the secret was replaced, the former one still opens.
    opened = ResponseSeal(derive_keys("key", [OTHER, SECRET]), b"request").open(sealed)
    assert (opened.status_code, opened.body) == (201, response.body)
    assert dict(opened.headers) == {
        "content-type": "application/json",
        "location": "/x/1",
        "content-length": str(len(response.body)),
        "idempotency-replayed": "true",
    }


def test_without_a_secret_what_is_stored_depends_on_the_key_as_it_always_has() -> None:
    assert [key.hex() for key in derive_keys("key", [])] == [
        "816e7110ea3c4ad2af965adfdad4959c3893730f8895fefb4c547acac8415f27"
    ]


def test_the_largest_response_opens_again() -> None:
    seal = ResponseSeal(derive_keys("key", []), b"request")
    body = "\u20ac".encode() * 400_000
    assert seal.open(seal.seal(Response(body, 201))).body == body
