"""The gateway's own pages: the welcome page in its two forms, and where the documentation is found."""

import re

import httpx
import pytest
from kpi_gateway.documents.negotiation import prefers_html

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
SAFARI = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (CHROMIUM, True),
        (SAFARI, True),
        ("text/html", True),
        ("TEXT/HTML;Q=0.9, application/json;q=0.8", True),
        ("text/html;level=1;q=0.3, text/*;q=0.5, application/json;q=0.4", False),
        ("text/*", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        ("text/html, application/json", False),
        ("text/html;q=0.5, application/json;q=0.6", False),
        ("text/html;q=0.5, */*", False),
        ("text/html;q=0", False),
        ("text/html;q=2", False),
        ("text/html;q=nan", False),
        (";;,,=;q", False),
    ],
)
def test_html_is_for_clients_that_prefer_it(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html


async def test_browsers_get_a_page_with_the_first_steps(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"Accept": CHROMIUM})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "Accept" in response.headers.get_list("vary", split_commas=True)
    assert "<script" not in response.text
    assert "style=" not in response.text
    assert "://" not in response.text
    links = re.findall(r'(?:href|src)="([^"]+)"', response.text)
    assert {"/docs", "/docs#/users/create_user", "/api/v1/posts"} <= set(links)
    for link in links:
        assert (await client.get(link.partition("#")[0])).status_code in {200, 503}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html, application/json"])
async def test_other_clients_get_json(client: httpx.AsyncClient, accept: str | None) -> None:
    del client.headers["Accept"]
    response = await client.get("/", headers={"Accept": accept} if accept else {})
    assert response.headers["content-type"] == "application/json"
    assert response.json()["links"]["docs"] == "/docs"
    assert "Accept" in response.headers.get_list("vary", split_commas=True)


async def test_the_address_of_redoc_shows_the_documentation_too(client: httpx.AsyncClient) -> None:
    known, other = await client.get("/docs"), await client.get("/redoc")
    assert other.status_code == 200
    assert other.text == known.text
    assert other.headers["content-security-policy"] == known.headers["content-security-policy"]


PAGES = [
    "/docs",
    "/redoc",
    "/openapi.json",
    "/docs/docs.js",
    "/health",
    "/health/live",
    "/health/ready",
    "/health/info",
]


@pytest.mark.parametrize("path", PAGES)
async def test_a_trailing_slash_is_the_same_page(client: httpx.AsyncClient, path: str) -> None:
    without, with_slash = await client.get(path), await client.get(f"{path}/")
    assert with_slash.status_code == without.status_code
    assert with_slash.text.replace(with_slash.headers["x-request-id"], "") == without.text.replace(
        without.headers["x-request-id"], ""
    )
    for other in (f"{path}//", f"{path}%2F"):
        assert (await client.get(other)).status_code == 404


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_trailing_slash_is_the_same_page_for_other_methods(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/health/")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
