"""Requests whose end two programs place differently: an upstream never receives a second request from them."""

import asyncio

import pytest
from gateway_support import Echo, Wire, gateway, serving
from starlette.types import Receive, Scope, Send

SMUGGLED = b"GET /posts/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /posts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def send(address: str, data: bytes) -> bytes:
    async with await Wire.to(address) as wire:
        await wire.send(data)
        async with asyncio.timeout(5):
            return await wire.rest()


REFUSED = {
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 42\r\n\r\n" + SMUGGLED,
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": POST + b"Content-Length: 0, 42\r\n\r\n" + SMUGGLED,
    "a signed length": POST + b"Content-Length: +2\r\n\r\nab",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a length in hex": POST + b"Content-Length: 0x2\r\n\r\nab",
    "a length over 2^64": POST + b"Content-Length: 18446744073709551617\r\n\r\na" + SMUGGLED,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked and then another": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a vertical tab before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an invalid chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n" + SMUGGLED,
    "a chunk size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n" + SMUGGLED,
    "a header name with a space": POST + b"Content Length: 2\r\n\r\nab",
    "a length in a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 42\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED.keys())
async def test_a_request_with_an_ambiguous_end_is_refused(address: str, echo: Echo, request_bytes: bytes) -> None:
    response = await send(address, request_bytes)
    assert response.startswith(b"HTTP/1.1 4"), response
    assert b"application/problem+json" in response
    assert response.count(b"HTTP/1.1 ") == 1
    # The head of the upload may have been sent before its body turned out to be invalid.
    assert all(request["body"] == "" for request in echo.seen)
    assert "/posts/smuggled" not in [request["path"] for request in echo.seen]


async def test_a_folded_header_hides_nothing(address: str, echo: Echo) -> None:
    await send(address, POST + b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 42\r\n\r\n" + SMUGGLED)
    assert "/posts/smuggled" not in [request["path"] for request in echo.seen]


async def test_a_trailer_is_not_a_header(address: str, echo: Echo) -> None:
    body = chunk(b"ab") + b"0\r\nX-Forwarded-For: 10.0.0.1\r\nX-User: 1\r\n\r\n"
    response = await send(address, POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert response.startswith(b"HTTP/1.1 200 ")
    (request,) = echo.seen
    assert request["body"] == "ab"
    assert "10.0.0.1" not in str(request["headers"])


async def test_two_requests_in_one_piece_get_their_own_responses(address: str, echo: Echo) -> None:
    second = b"GET /posts/second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    response = await send(address, b"POST /posts/first HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" + second)
    assert response.count(b"HTTP/1.1 200 OK") == 2
    assert [(request["path"], request["body"]) for request in echo.seen] == [
        ("/posts/first", "ab"),
        ("/posts/second", ""),
    ]


async def test_a_disconnect_after_two_requests_ends_the_first() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        if scope["type"] == "http":
            entered.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

    async with serving(app) as upstream, gateway(content_url=upstream) as address:
        async with await Wire.to(address) as wire:
            await wire.send(b"GET /posts HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            await entered.wait()
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_request_without_version_is_refused(address: str, echo: Echo) -> None:
    response = await send(address, b"GET /posts\r\n\r\n" + SMUGGLED)
    assert response.startswith(b"HTTP/1.1 505 ")
    assert echo.seen == []


@pytest.mark.parametrize("target", [b"http://evil.example/posts", b"evil.example:443", b"*", b"/posts HTTP/1.1\r\nX: "])
@pytest.mark.parametrize("method", [b"GET", b"CONNECT", b"OPTIONS"])
async def test_other_forms_of_target_lead_to_no_other_host(
    address: str, echo: Echo, method: bytes, target: bytes
) -> None:
    response = await send(address, method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert response.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 4", b"HTTP/1.1 501 ")), response
    assert "evil.example" not in str(echo.seen)
    if method == b"CONNECT":
        assert echo.seen == []


async def test_a_header_of_ten_megabytes_is_431(address: str, echo: Echo) -> None:
    async with await Wire.to(address) as wire:
        await wire.send(b"GET /posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + b"a" * 10_485_760 + b"\r\n\r\n")
        response = await wire.rest()
    assert response.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in response
    assert echo.seen == []
