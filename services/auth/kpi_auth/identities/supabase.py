"""Where a browser that is signed in to Supabase sends its token.

``@supabase/ssr`` keeps the session in the cookie ``sb-<ref>-auth-token`` (see ``src/cookies.ts`` there):
JSON, by default as ``base64-`` and base64url, split into ``.0``, ``.1`` and so on where it is longer than 3,180.
Older libraries stored an array whose first item is the access token, and some programs store the bare token.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from starlette.requests import Request

from kpi_auth.settings.providers import IdentityProvider

NAME = "supabase"
_COOKIE = re.compile(r"(sb-[A-Za-z0-9_-]{1,64}-auth-token)(?:\.\d{1,2})?")
_MAX_CHUNKS = 16
_MAX_LENGTH = 64 * 1024
_BASE64 = "base64-"


def read_token(request: Request, provider: IdentityProvider) -> str | None:
    """The token from the Authorization header, or from a header or a cookie with Supabase's name; None without any."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        # An empty token is refused, not replaced by one from a cookie.
        return token.strip(" ") if scheme.lower() == "bearer" else ""
    ref = (urlsplit(provider.issuer).hostname or "").partition(".")[0]
    value = _join_chunks(request.headers, ref) or _join_chunks(request.cookies, ref)
    return _parse_cookie(value) if value else None


def _join_chunks(values: Mapping[str, str], ref: str) -> str:
    """The value under the project's own name, or the first name of that form: a custom domain has another ref."""
    found = (match[1] for name in values if (match := _COOKIE.fullmatch(name)))
    for name in (f"sb-{ref}-auth-token", *found):
        whole = values.get(name) or "".join(_chunks(values, name))
        if whole:
            return whole
    return ""


def _chunks(values: Mapping[str, str], name: str) -> list[str]:
    chunks: list[str] = []
    while len(chunks) < _MAX_CHUNKS and (chunk := values.get(f"{name}.{len(chunks)}")):
        chunks.append(chunk)
    return chunks


def _parse_cookie(value: str) -> str:
    """The token in a cookie's value, or an empty text if there is none."""
    if len(value) > _MAX_LENGTH:
        return ""
    try:
        plain = _decode(unquote(value) if "%" in value else value)
        return _parse_session(json.loads(plain)) if plain[:1] in {"{", "[", '"'} else plain
    except (ValueError, RecursionError, binascii.Error):
        return ""


def _decode(value: str) -> str:
    if not value.startswith(_BASE64):
        return value
    data = value.removeprefix(_BASE64).rstrip("=")
    return base64.b64decode(data + "=" * (-len(data) % 4), altchars=b"-_", validate=True).decode("utf-8")


def _parse_session(session: object) -> str:
    if isinstance(session, list):
        session = session[0] if session else ""
    if isinstance(session, dict):
        session = session.get("access_token")
    return session if isinstance(session, str) else ""
