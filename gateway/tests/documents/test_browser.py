"""Swagger UI in a real browser: it loads from the gateway alone, logs in, and calls a protected operation."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer, OAuth2PasswordRequestForm
from gateway_support import gateway, serving
from kpi_shared.api_key_form import checksum
from kpi_shared.testing.browser import CHROMIUM, FLAGS, needs_browser
from playwright.async_api import Locator, Page, async_playwright
from pydantic import BaseModel, ConfigDict

pytestmark = [
    pytest.mark.browser,
    needs_browser,
]


FORM = "application/x-www-form-urlencoded"
EXAMPLE_FORM = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("username", "email", "password", "grant_type")},
    "required": ["password"],
    "examples": [{"username": "anna", "password": "a quiet red bicycle"}],
}
EXAMPLE_FIELDS = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "examples": ["anna"]},
        "email": {"type": "string"},
        "grant_type": {"type": "string", "default": "password"},
    },
}


class Example(BaseModel):
    """A body whose example leaves an optional field out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "How bees tell the way"}]})

    title: str
    content: str | None = None


def auth_service() -> FastAPI:
    """The two endpoints of auth that the page needs, and two that need no token."""
    app = FastAPI()
    issued = secrets.token_urlsafe()

    @app.post("/auth/login")
    async def login(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str | int]:
        if form.password != "a quiet red bicycle":
            raise HTTPException(401)
        return {"access_token": issued, "token_type": "bearer", "expires_in": 900, "username": form.username}

    scheme = OAuth2PasswordBearer(tokenUrl="/auth/login", scheme_name="password")

    @app.get("/auth/me")
    async def me(token: Annotated[str, Depends(scheme)]) -> dict[str, str]:
        if token != issued:
            raise HTTPException(401)
        return {"username": "anna-of-the-test"}

    @app.get("/auth/open", openapi_extra={"security": [{}, {"password": []}]})
    async def read(authorization: Annotated[str | None, Header()] = None) -> dict[str, bool]:
        return {"sent-a-token": authorization is not None}

    @app.get("/auth/public")
    async def public() -> dict[str, str]:
        return {}

    return app


def mirror() -> FastAPI:
    """Endpoints that return the body that they get."""
    app = FastAPI()

    @app.post("/auth/json")
    async def take_json(body: Example) -> Example:
        return body

    @app.post("/auth/form", openapi_extra={"requestBody": {"content": {FORM: {"schema": EXAMPLE_FORM}}}})
    async def take_form(request: Request) -> dict[str, str]:
        return {name: str(value) for name, value in (await request.form()).items()}

    @app.post("/auth/fields", openapi_extra={"requestBody": {"content": {FORM: {"schema": EXAMPLE_FIELDS}}}})
    async def take_fields(request: Request) -> dict[str, str]:
        return {name: str(value) for name, value in (await request.form()).items()}

    return app


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            tmp_path, executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1280, "height": 1000}
        )
        page = browser.pages[0]
        page.set_default_timeout(10_000)
        yield page
        await browser.close()


def operation(page: Page, path: str) -> Locator:
    return page.locator(".opblock", has=page.get_by_text(path, exact=True))


async def execute(page: Page, path: str) -> str:
    """Call an operation from the page; returns what it shows of the response."""
    block = operation(page, path)
    await block.locator(".opblock-summary-control").click()
    await block.get_by_role("button", name="Try it out").click()
    await block.get_by_role("button", name="Execute").click()
    await block.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
    return await block.locator(".live-responses-table").inner_text()


async def test_locks_are_for_operations_that_need_a_token(page: Page) -> None:
    async with serving(auth_service()) as auth, gateway(auth_url=auth) as address:
        await page.goto(f"{address}/docs")
        await operation(page, "/api/v1/auth/me").wait_for()
        paths = ("/api/v1/auth/me", "/api/v1/auth/open", "/api/v1/auth/public", "/health")
        locks = [await operation(page, path).locator(".authorization__btn").count() for path in paths]
    assert locks == [1, 0, 0, 0]


async def test_what_the_page_fills_in_is_the_example(page: Page) -> None:
    async with serving(mirror()) as auth, gateway(auth_url=auth) as address:
        await page.goto(f"{address}/docs")
        assert '"title": "How bees tell the way",\n  "content": null' in await execute(page, "/api/v1/auth/json")
        form = '{\n  "username": "anna",\n  "password": "a quiet red bicycle"\n}'
        assert form in await execute(page, "/api/v1/auth/form")
        assert '{\n  "username": "anna",\n  "grant_type": "password"\n}' in await execute(page, "/api/v1/auth/fields")


async def test_authorize_logs_in_and_a_protected_call_succeeds(page: Page) -> None:
    errors: list[str] = []
    external: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    async with serving(auth_service()) as auth, gateway(auth_url=auth) as address:
        page.on("request", lambda it: None if it.url.startswith((address, "data:")) else external.append(it.url))
        await page.goto(f"{address}/docs")
        await page.get_by_role("button", name="Authorize").first.click()
        dialog = page.locator(".dialog-ux")
        await dialog.locator("#oauth_username").fill("anna")
        await dialog.locator("#oauth_password").fill("a quiet red bicycle")
        await dialog.get_by_role("button", name="Apply given OAuth2 credentials").click()
        await dialog.get_by_role("button", name="Remove authorization").wait_for()
        await dialog.get_by_role("button", name="Close").last.click()

        assert "anna-of-the-test" in await execute(page, "/api/v1/auth/me")
        # Where a token is optional, it is sent too.
        assert '"sent-a-token": true' in await execute(page, "/api/v1/auth/open")
        if folder := os.environ.get("SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / "docs.png", full_page=True)
    assert errors == []
    assert external == []


def keyed_service() -> FastAPI:
    """An endpoint for API keys, which shows the token that reached it, and the internal port that exchanges keys."""
    app = FastAPI()
    scheme = APIKeyHeader(name="X-API-Key", scheme_name="apiKey", auto_error=False)

    @app.get("/auth/me")
    async def me(request: Request, key: Annotated[str | None, Depends(scheme)]) -> dict[str, str | None]:
        return {"key": key, "authorization": request.headers.get("authorization")}

    @app.post("/internal/api-keys/exchange", include_in_schema=False)
    async def exchange() -> dict[str, object]:
        given = {"key_id": 1, "allowed_networks": [], "rate_limit": None}
        return {"access_token": "v4.local.of-the-key", "expires_in": 60, **given}

    return app


async def test_authorize_takes_an_api_key(page: Page) -> None:
    body = f"kpi_test_1_{secrets.token_hex(22)[:43]}"
    async with serving(keyed_service()) as auth, serving(keyed_service()) as internal:
        keys = {"auth_internal_url": internal, "internal_key": secrets.token_hex(32)}
        async with gateway(auth_url=auth, **keys) as address:
            await page.goto(f"{address}/docs")
            await page.get_by_role("button", name="Authorize").first.click()
            dialog = page.locator(".dialog-ux")
            await dialog.locator("#api_key_value").fill(body + checksum(body))
            await dialog.get_by_role("button", name="Apply credentials").click()
            await dialog.get_by_role("button", name="Close").last.click()
            shown = await execute(page, "/api/v1/auth/me")
    assert '"key": null' in shown
    assert "Bearer v4.local.of-the-key" in shown
