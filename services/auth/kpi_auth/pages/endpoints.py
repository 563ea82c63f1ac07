"""The pages that links in mails lead to, for people; each sends its code to the endpoint of the same address."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from kpi_auth.accounts.fields import MAX_PASSWORD, MIN_PASSWORD

router = APIRouter(prefix="/auth", tags=["auth"], default_response_class=HTMLResponse)


class Page(NamedTuple):
    body: bytes
    policy: str


@router.get("/verify-email")
async def show_verify_email() -> HTMLResponse:
    """The page that the link in a mail leads to. It confirms nothing before somebody presses its button."""
    return _respond("verify_email.html")


@router.get("/reset-password")
async def show_reset_password() -> HTMLResponse:
    """The page that the link in a mail leads to, with a form for the new password."""
    return _respond("reset_password.html")


def _respond(name: str) -> HTMLResponse:
    page = _page(name)
    headers = {
        "Content-Security-Policy": page.policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return HTMLResponse(page.body, headers=headers)


@cache
def _page(name: str) -> Page:
    """One file holds it all, so that it works under whatever path a gateway serves it."""
    style, script = _text("page.css"), _text("page.js")
    parts = {"style": style, "script": script, "shortest": str(MIN_PASSWORD), "longest": str(MAX_PASSWORD)}
    text = _text(name)
    for part, content in parts.items():
        text = text.replace(f"{{{part}}}", content)
    return Page(text.encode(), _policy(style=style, script=script))


def _policy(*, style: str, script: str) -> str:
    """Nothing runs and nothing shows but what stands in the page, and it speaks to nobody but its own server."""
    return (
        f"default-src 'none'; script-src '{_source(script)}'; style-src '{_source(style)}'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def _source(content: str) -> str:
    """CSP 3, section 2.3.1: exactly what stands between the tags may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _text(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")
