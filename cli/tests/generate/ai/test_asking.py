"""The request to the endpoint: where it may go, what it has with it, and how long and large the response may be."""

import gzip
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kpi_cli.errors import FailureError
from kpi_cli.generate.ai import asking, endpoint
from kpi_cli.generate.ai.endpoint import Endpoint
from stand_in import StandIn, completion, send, stand_in

KEY = "sk-very-secret"
MESSAGES = [{"role": "user", "content": "a blog"}]


def failure_of(url: str, *, patience: float = 20) -> FailureError:
    with pytest.raises(FailureError) as caught:
        asking.ask(Endpoint(url, "model", KEY), MESSAGES, patience=patience)
    assert KEY not in "\n".join(caught.value.lines())
    return caught.value


def test_the_request_is_one_for_json_with_the_key() -> None:
    with stand_in(completion("{}")) as server:
        assert asking.ask(Endpoint(f"{server.url}/", "model", KEY), MESSAGES) == completion("{}")
    assert server.paths == ["/v1/chat/completions"]
    assert server.requests[0]["messages"] == MESSAGES
    assert server.requests[0]["model"] == "model"
    assert server.requests[0]["response_format"] == {"type": "json_object"}
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_there_is_no_header_field_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nor does a proxy of the environment see what goes to this machine without encryption.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with stand_in(completion("{}")) as server:
        asking.ask(Endpoint(server.url, "model", ""), MESSAGES)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "does not accept the key"),
        (403, "does not accept the key"),
        (404, "no such address or model"),
        (429, "no more requests"),
        (500, "failed with HTTP 500"),
        (204, "failed with HTTP 204"),
    ],
)
def test_another_status_is_one_sentence_without_what_the_endpoint_says(status: int, sentence: str) -> None:
    def answer(handler: BaseHTTPRequestHandler, _: StandIn) -> None:
        send(handler, status, b"" if status == 204 else f"\x1b[31m{handler.headers['Authorization']}".encode())

    with stand_in(answer) as server:
        assert sentence in failure_of(server.url).sentence


def test_a_redirect_is_not_followed() -> None:
    with stand_in(completion("{}")) as other:

        def answer(handler: BaseHTTPRequestHandler, _: StandIn) -> None:
            send(handler, 307, b"", Location=f"{other.url}/chat/completions")

        with stand_in(answer) as server:
            assert "redirects" in failure_of(server.url).sentence
    assert other.requests == []


def test_a_response_has_a_maximum_size() -> None:
    def answer(handler: BaseHTTPRequestHandler, here: StandIn) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not here.ended.is_set():
            handler.wfile.write(b" " * 65536)

    with stand_in(answer) as server:
        assert "larger than 256 KiB" in failure_of(server.url).sentence


def test_a_compressed_response_is_refused() -> None:
    with stand_in(
        lambda handler, _: send(handler, 200, gzip.compress(b" " * 10**6), Content_Encoding="gzip")
    ) as server:
        assert "compresses" in failure_of(server.url).sentence


def test_a_response_that_comes_byte_by_byte_has_a_maximum_time() -> None:
    def answer(handler: BaseHTTPRequestHandler, here: StandIn) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not here.ended.wait(0.05):
            handler.wfile.write(b" ")

    with stand_in(answer) as server:
        assert "within 0.4 s" in failure_of(server.url, patience=0.4).sentence


def test_a_head_that_does_not_come_has_one_too() -> None:
    with stand_in(lambda _, here: here.ended.wait(30) and None) as server:
        assert "within 0.4 s" in failure_of(server.url, patience=0.4).sentence


def test_an_endpoint_that_is_not_there() -> None:
    with stand_in(b"") as server:
        url = server.url
    assert "no connection could be made" in failure_of(url).sentence


@pytest.mark.parametrize(
    ("proxy", "sentence"), [("socks5://127.0.0.1:9", "cannot be used"), ("nonsense://127.0.0.1", "is not valid")]
)
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, proxy: str, sentence: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert f"the proxy that the environment names {sentence}" in failure_of("https://127.0.0.1:9/v1").sentence


def test_what_is_no_http() -> None:
    with stand_in(lambda handler, _: handler.wfile.write(b"220 mail.example.com\r\n") and None) as server:
        assert "is not HTTP" in failure_of(server.url).sentence


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "no endpoint is set: KPI_AI_URL and KPI_AI_MODEL are missing"),
        ({"KPI_AI_URL": "https://a.example/v1"}, "no endpoint is set: KPI_AI_MODEL is missing"),
        ({"KPI_AI_URL": " ", "KPI_AI_MODEL": "m"}, "no endpoint is set: KPI_AI_URL is missing"),
        ({"KPI_AI_URL": "http://a.example/v1", "KPI_AI_MODEL": "m"}, "not encrypted"),
        ({"KPI_AI_URL": "http://127.0.0.1.a.example/v1", "KPI_AI_MODEL": "m"}, "not encrypted"),
        ({"KPI_AI_URL": "http://localhost.a.example/v1", "KPI_AI_MODEL": "m"}, "not encrypted"),
        ({"KPI_AI_URL": f"https://me:{KEY}@a.example/v1", "KPI_AI_MODEL": "m"}, "has a user name or a password"),
        ({"KPI_AI_URL": "https://a.example/v1?x=1", "KPI_AI_MODEL": "m"}, "query"),
        ({"KPI_AI_URL": "file:///etc/passwd", "KPI_AI_MODEL": "m"}, "is not an address"),
        ({"KPI_AI_URL": "https://a.example\\@b.example/", "KPI_AI_MODEL": "m"}, "is not an address"),
        ({"KPI_AI_URL": "https://a.example:x/", "KPI_AI_MODEL": "m"}, "is not an address"),
        ({"KPI_AI_URL": "https://a.example", "KPI_AI_MODEL": "m", "KPI_AI_KEY": f"{KEY}\r\nx: y"}, "printable"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(FailureError) as caught:
        endpoint.find(environment)
    assert sentence in caught.value.sentence
    assert caught.value.code == 2
    assert KEY not in "\n".join(caught.value.lines())


@pytest.mark.parametrize(
    "url", ["https://a.example/v1", "http://localhost:11434/v1", "http://127.0.0.1:1/v1", "http://[::1]:1/v1"]
)
def test_encrypted_or_on_this_machine(url: str) -> None:
    found = endpoint.find({"KPI_AI_URL": url, "KPI_AI_MODEL": "m", "KPI_AI_KEY": KEY})
    assert found == Endpoint(url, "m", KEY)
    assert KEY not in repr(found)


def test_another_machine_without_encryption_must_be_said() -> None:
    environment = {"KPI_AI_URL": "http://10.0.0.1/v1", "KPI_AI_MODEL": "m", "KPI_AI_ALLOW_HTTP": "1"}
    assert endpoint.find(environment).url == "http://10.0.0.1/v1"
