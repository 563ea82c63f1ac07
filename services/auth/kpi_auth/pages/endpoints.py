"""The pages that links in e-mails lead to; each sends its code to the POST endpoint of the same path."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi.responses import HTMLResponse
from kpi_shared.http.media_types import Router

from kpi_auth.accounts.fields import MAX_PASSWORD, MIN_PASSWORD

router = Router(prefix="/auth", tags=["auth"], default_response_class=HTMLResponse)


class Page(NamedTuple):
    body: bytes
    policy: str


@router.get("/verify-email")
async def show_verify_email() -> HTMLResponse:
    """The page that the link in an e-mail leads to. Nothing is confirmed until the button is pressed."""
    return _respond("verify_email.html")


@router.get("/reset-password")
async def show_reset_password() -> HTMLResponse:
    """The page that the link in an e-mail leads to, with a form for the new password."""
    return _respond("reset_password.html")


def _respond(name: str) -> HTMLResponse:
    page = _build_page(name)
    headers = {
        "Content-Security-Policy": page.policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return HTMLResponse(page.body, headers=headers)


@cache
def _build_page(name: str) -> Page:
    """One file with its style and script, so that the page works under any path that a gateway serves it at."""
    style, script = _read_text("page.css"), _read_text("page.js")
    parts = {"style": style, "script": script, "shortest": str(MIN_PASSWORD), "longest": str(MAX_PASSWORD)}
    text = _read_text(name)
    for part, content in parts.items():
        text = text.replace(f"{{{part}}}", content)
    return Page(text.encode(), _build_policy(style=style, script=script))


def _build_policy(*, style: str, script: str) -> str:
    """Allow only the script and style of the page itself, and connections only to its own server."""
    return (
        f"default-src 'none'; script-src '{_hash_source(script)}'; style-src '{_hash_source(style)}'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def _hash_source(content: str) -> str:
    """CSP 3, section 2.3.1: allows exactly the content between the tags."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _read_text(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")
