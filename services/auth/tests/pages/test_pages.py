"""The pages that links in e-mails lead to, in a real browser, through the gateway."""

import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from auth_support import PASSWORD, Accounts, code_of, empty
from gateway_support import gateway, serving
from kpi_auth.app import create_app
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.browser import CHROMIUM, FLAGS, needs_browser
from playwright.async_api import Page, async_playwright

NEW = "a brand new red bicycle"
PATHS = ["/auth/verify-email", "/auth/reset-password"]


@pytest.fixture
async def stack(settings: AuthSettings) -> AsyncIterator[tuple[str, Accounts]]:
    """The address of a gateway in front of the service, and the accounts behind both."""
    app = create_app(settings)
    async with serving(app) as auth, gateway(auth_url=auth) as address:
        async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
            yield address, Accounts(app, client)
        await empty(app.state.database)


class Visit:
    """A page in the browser, with its errors and requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if "Policy" in message.text else None)
        page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))

    async def wait_for_heading(self, heading: str) -> None:
        await self.page.get_by_role("heading", name=heading).wait_for()

    async def take_screenshot(self, name: str) -> None:
        """Take a light screenshot on a desktop and a dark one on a phone, if SCREENSHOTS names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            for scheme, size in (("light", (1000, 640)), ("dark", (360, 640))):
                await self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                await self.page.set_viewport_size({"width": size[0], "height": size[1]})
                await self.page.screenshot(path=Path(folder) / f"{name}-{scheme}.png")


@pytest.fixture
async def visit(tmp_path: Path) -> AsyncIterator[Visit]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(tmp_path, executable_path=CHROMIUM, args=FLAGS)
        yield Visit(browser.pages[0])
        await browser.close()


@pytest.mark.parametrize("path", PATHS)
async def test_the_gateway_forwards_a_page_with_its_strict_headers(stack: tuple[str, Accounts], path: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        responses = [await client.get(f"{stack[0]}{form}{path}") for form in ("", "/api", "/api/v1")]
    assert len({response.text for response in responses}) == 1
    for response in responses:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"] == _expected_policy(response.text)
    assert "http" not in responses[0].text


async def test_a_password_is_hidden_and_may_come_from_a_password_manager(client: httpx.AsyncClient) -> None:
    page = (await client.get("/auth/reset-password")).text
    [field] = re.findall(r'<input id="new-password".*?>', page, re.DOTALL)
    assert 'type="password"' in field
    assert 'autocomplete="new-password"' in field
    # Pasting works: the page listens to other events only.
    assert set(re.findall(r'addEventListener\("(\w+)"', page)) == {"submit", "input", "click", "hashchange"}
    assert not re.search(r"\son\w+\s*=", page)


def _expected_policy(page: str) -> str:
    def hash_source(tag: str) -> str:
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {hash_source('script')}; style-src {hash_source('style')}; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


@needs_browser
@pytest.mark.browser
@pytest.mark.parametrize("form", ["", "/api", "/api/v1"])
async def test_the_link_verifies_when_the_button_is_pressed(
    stack: tuple[str, Accounts], visit: Visit, form: str
) -> None:
    address, accounts = stack
    user_id, code = await _register(accounts)
    page = visit.page
    await page.goto(f"{address}{form}/auth/verify-email#code={code}")
    await visit.wait_for_heading("Confirm your e-mail address")
    # The code is removed from the address, and opening the link does not use it up.
    assert page.url == f"{address}{form}/auth/verify-email"
    assert await page.get_by_label("Code").is_hidden()
    assert not any(request.startswith("POST") for request in visit.requests)
    await visit.take_screenshot("verify-ready")
    await page.get_by_role("button", name="Confirm").click()
    await visit.wait_for_heading("Your e-mail address is confirmed")
    await visit.take_screenshot("verify-done")
    assert await accounts.scalar("SELECT email_verified_at IS NOT NULL FROM users WHERE id = :id", id=user_id)
    assert visit.errors == []
    assert not any(code in request for request in visit.requests[1:])


@needs_browser
@pytest.mark.browser
async def test_an_invalid_code_is_reported_and_another_can_be_entered(
    stack: tuple[str, Accounts], visit: Visit
) -> None:
    address, accounts = stack
    _id, code = await _register(accounts)
    page = visit.page
    await page.goto(f"{address}/auth/verify-email#code=made-up")
    await page.get_by_role("button", name="Confirm").click()
    await page.get_by_role("alert").get_by_text("This code is unknown, was used already, or has expired").wait_for()
    await visit.take_screenshot("verify-refused")
    await page.get_by_label("Code").fill(f" {code} ")
    await page.get_by_role("button", name="Confirm").click()
    await visit.wait_for_heading("Your e-mail address is confirmed")
    assert visit.errors == []


@needs_browser
@pytest.mark.browser
@pytest.mark.parametrize("form", ["", "/api/v1"])
async def test_the_link_leads_to_a_new_password(stack: tuple[str, Accounts], visit: Visit, form: str) -> None:
    address, accounts = stack
    await accounts.add("anna")
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.post(f"{address}/auth/forgot-password", json={"username": "anna"})
    code = code_of((await accounts.mails("anna@example.com"))[-1])
    page = visit.page
    await page.goto(f"{address}{form}/auth/reset-password")
    await page.get_by_label("Code").wait_for()
    await visit.take_screenshot("reset-by-hand")
    # A link that is opened in the same tab changes the fragment only.
    await page.goto(f"{address}{form}/auth/reset-password#code={code}")
    await page.get_by_label("Code").wait_for(state="hidden")
    await visit.take_screenshot("reset-ready")
    password = page.get_by_label("New password")
    assert await password.get_attribute("autocomplete") == "new-password"
    await password.fill("iloveyou")
    await page.get_by_role("button", name="Change password").click()
    await page.get_by_role("alert").get_by_text("The password is one of the most common passwords").wait_for()
    await visit.take_screenshot("reset-refused")
    await password.fill(NEW)
    await page.get_by_role("button", name="Show").click()
    assert await password.get_attribute("type") == "text"
    await visit.take_screenshot("reset-shown")
    await page.get_by_role("button", name="Hide").click()
    assert await password.get_attribute("type") == "password"
    await page.get_by_role("button", name="Change password").click()
    await visit.wait_for_heading("Your password was changed")
    await visit.take_screenshot("reset-done")
    assert await accounts.sign_in("anna", NEW)
    assert not await accounts.sign_in("anna", PASSWORD)
    assert visit.errors == []
    assert all(request.split(" ")[1].startswith(address) for request in visit.requests)


async def _register(accounts: Accounts) -> tuple[int, str]:
    anna = await accounts.add("anna", verified=False)
    return anna.id, code_of((await accounts.mails("anna@example.com"))[-1])
