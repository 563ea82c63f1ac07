"""Which upstream serves a path, and under which path it is known there."""

import pytest
from gateway_support import table_of
from kpi_gateway.paths import InvalidPathError, check_target
from kpi_gateway.routes import RouteTable
from kpi_gateway.settings import GatewaySettings

TABLE = table_of({"/posts": "content", "/posts/archive": "archive", "/auth": "auth"})


@pytest.mark.parametrize("form", [b"/api/v1", b"/api", b""])
def test_each_prefix_leads_to_the_same_path(form: bytes) -> None:
    match = TABLE.match(form + b"/posts/7", "GET")
    assert match is not None
    assert (match.route.upstream, match.form, match.path) == ("content", form, b"/posts/7")


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        (b"/posts/archive", "archive"),
        (b"/posts/archive/1", "archive"),
        (b"/posts/archived", "content"),
        (b"/posts", "content"),
        (b"/posts/", "content"),
    ],
)
def test_the_longest_prefix_wins_at_the_end_of_a_segment(path: bytes, upstream: str) -> None:
    match = TABLE.match(path, "GET")
    assert match is not None
    assert match.route.upstream == upstream


def test_rows_may_be_restricted_to_methods_and_to_one_address() -> None:
    rows = [
        {"prefix": "/posts", "upstream": "content"},
        {"prefix": "/posts", "upstream": "reads", "methods": ("GET",)},
        {"prefix": "/posts/new", "upstream": "drafts", "methods": ("POST",), "exact": True, "limit": "login"},
    ]
    upstreams = {name: f"http://{name}" for name in ("reads", "drafts")}
    table = RouteTable.of(GatewaySettings.model_validate({"routes": rows, "upstreams": upstreams}))
    asked = [(b"/posts", "GET"), (b"/posts", "POST"), (b"/posts/new", "POST"), (b"/posts/new/1", "POST")]
    found = [table.match(path, method) for path, method in asked]
    assert [match and (match.route.upstream, match.limit) for match in found] == [
        ("reads", None),
        ("content", None),
        ("drafts", "login"),
        ("content", None),
    ]


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/postscript",
        b"/api",
        b"/api/v1",
        b"/api/v1/",
        b"/api/v2/posts",
        b"/api/v1/api/v1/posts",
        b"//posts",
        b"/Posts",
    ],
)
def test_other_paths_have_no_route(path: bytes) -> None:
    assert TABLE.match(path, "GET") is None


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/posts/a%2Fb",
        b"/posts/%25",
        b"/posts/%252e%252e",
        b"/posts/a+b",
        b"/posts/%C3%A9",
        b"/posts/.well",
        b"//a",
        b"/a..b/c.",
    ],
)
def test_plain_paths_pass(path: bytes) -> None:
    assert check_target(path, b"q=%2e%2e/&x=100%") == path


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/%70osts/%32", b"/posts/2"),
        (b"/posts/%7e%2D%5f%2E", b"/posts/~-_."),
        (b"/posts/%c3%a9%2f", b"/posts/%C3%A9%2F"),
        # RFC 3986, 2.2: an escape of a reserved character may mean something else than the character.
        (b"/posts/%3a%40%21", b"/posts/%3A%40%21"),
        (b"/posts/%2561", b"/posts/%2561"),
    ],
)
def test_escapes_of_unreserved_characters_are_decoded(path: bytes, normal: bytes) -> None:
    assert check_target(path, b"") == normal


@pytest.mark.parametrize(
    "path",
    [
        b"/posts/../users",
        b"/posts/..",
        b"/posts/./1",
        b"/posts/%2e%2e/users",
        b"/posts/%2E./users",
        b"/posts/..%2fusers",
        b"/posts/%2e%2e%2fusers",
        b"/posts/..%5cusers",
        b"/posts\\..\\users",
        b"/posts/%5c",
        b"/posts/%00",
        b"/posts/a%0d%0ab",
        b"/posts/%7f",
        b"/posts/%",
        b"/posts/%2",
        b"/posts/%zz",
        b"/posts/%c3",
        b"/posts/%c0%ae%c0%ae/users",
        b"/posts/\xc3\xa9",
        b"posts",
        b"",
        b"*",
    ],
)
def test_ambiguous_paths_are_refused(path: bytes) -> None:
    with pytest.raises(InvalidPathError):
        check_target(path, b"")


def test_a_query_outside_ascii_is_refused() -> None:
    with pytest.raises(InvalidPathError):
        check_target(b"/posts", b"search=\xc3\xa9")
