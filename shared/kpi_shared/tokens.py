"""Access tokens: PASETO v4.local with a strict parser around the ``paseto`` library.

The library accepts non-canonical base64url, padding (vectors 4-F-4 and 4-F-5) and tokens without an expiry. So the
parser here requires the canonical form, limits every length before it parses, and turns each failure into one
InvalidTokenError that does not say which check failed.
"""

import base64
import binascii
import json
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NoReturn, cast

from paseto.exceptions import PasetoException
from paseto.keys.symmetric_key import SymmetricKey
from paseto.protocols.v4 import ProtocolVersion4

from kpi_shared.caller import Role, Scope, Subject
from kpi_shared.keys import KEY_BYTES, key_id, parse_key
from kpi_shared.settings import OptionalTokenSettings, TokenSettings

HEADER = "v4.local."
# Our tokens have about 700 characters; a user name of 32 four-byte characters adds about 200.
MAX_TOKEN_LENGTH = 2048
MAX_FOOTER_LENGTH = 256
# Nonce and MAC of v4.local, 32 bytes each, and at least one byte of ciphertext.
_MIN_BODY_BYTES = 65
# How much the clocks of two machines may differ. The expiry has no leeway: the token only expires earlier.
CLOCK_LEEWAY = timedelta(seconds=10)
_TEXT_CLAIMS = ("sub", "username", "role", "sid", "jti", "iss", "aud")
_MAX_ID = 2**63 - 1
_SCOPES = frozenset(scope.value for scope in Scope)
# The number of a session, or that of an API key.
_SESSION_ID = re.compile(r"(?:key-)?([1-9][0-9]{0,18})", re.ASCII)
# About five megabytes. Decrypting a token takes 30 times as long as finding it here.
_MAX_VERIFIED = 10_000


class InvalidTokenError(Exception):
    """The token is not valid. The reason is not disclosed."""


class KeyRing:
    """The current key, which seals tokens, and previous keys, which still open theirs."""

    def __init__(self, current: bytes, previous: Iterable[bytes] = ()) -> None:
        self.current_id = key_id(current)
        self._keys = {key_id(key): key for key in (*previous, current)}

    @classmethod
    def of(cls, settings: TokenSettings | OptionalTokenSettings) -> "KeyRing":
        """The key ring of settings that have a key."""
        current = settings.paseto_secret_key
        assert current is not None, "the settings have no key"  # noqa: S101 the caller has checked it
        previous = [parse_key(key.get_secret_value()) for key in settings.paseto_previous_keys]
        return cls(parse_key(current.get_secret_value()), previous)

    def find(self, kid: str) -> bytes | None:
        return self._keys.get(kid)

    @property
    def current(self) -> bytes:
        return self._keys[self.current_id]

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys; the current one is the last."""
        return tuple(self._keys.values())


class TokenCodec:
    """Mints and verifies the access tokens of the platform. Claims and footer are part of the public contract."""

    def __init__(self, ring: KeyRing, *, issuer: str, audience: str) -> None:
        self._ring = ring
        self._issuer = issuer
        self._audience = audience
        self._verified: dict[bytes, Subject] = {}

    @classmethod
    def of(cls, settings: TokenSettings | OptionalTokenSettings) -> "TokenCodec":
        return cls(KeyRing.of(settings), issuer=settings.token_issuer, audience=settings.token_audience)

    def mint(  # noqa: PLR0913 the claims of a token, each by its name
        self,
        *,
        user_id: int,
        username: str,
        role: Role,
        session_id: str,
        lifetime: timedelta,
        account_version: int | None = None,
        scopes: Iterable[Scope] | None = None,
    ) -> str:
        """A new token; ``scopes`` narrow it, None gives it all that the role allows.

        ``account_version`` is that of the row from which the name and the role were read.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        claims: dict[str, str | int] = {
            "sub": str(user_id),
            "username": username,
            "role": role.value,
            "sid": session_id,
            "jti": secrets.token_urlsafe(16),
            "iss": self._issuer,
            "aud": self._audience,
            "iat": _format_rfc3339(now),
            "nbf": _format_rfc3339(now),
            "exp": _format_rfc3339(now + lifetime),
        }
        if account_version is not None:
            claims["ver"] = account_version
        if scopes is not None:
            claims["scope"] = " ".join(scopes)
        footer = json.dumps({"kid": self._ring.current_id}, separators=(",", ":"))
        return seal(json.dumps(claims).encode(), key=self._ring.current, footer=footer.encode())

    def verify(self, token: str) -> Subject:
        """Return the subject of the token, or raise InvalidTokenError. ``security`` checks the state of its session.

        Verified tokens are remembered until they expire, in this codec and nowhere else: its keys and claims do not
        change, so a token that was valid once stays valid until then.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidTokenError
        digest = token_digest(token.encode(errors="surrogatepass"))
        known = self.find_verified(digest)
        if known is not None:
            return known
        subject = self._verify(token)
        if len(self._verified) >= _MAX_VERIFIED:
            # Tokens of people have the same lifetime, so the oldest entry is about the first to expire.
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = subject
        return subject

    def find_verified(self, digest: bytes) -> Subject | None:
        """The subject of a token that was verified before and has not expired, by its ``token_digest``."""
        known = self._verified.get(digest)
        return known if known is not None and known.expires_at > datetime.now(UTC) else None

    def _verify(self, token: str) -> Subject:
        _body, footer = split(token)
        key = self._ring.find(_parse_kid(footer))
        if key is None:
            raise InvalidTokenError
        claims = _parse_object(open_sealed(token, key=key))
        self._check_times(claims)
        return self._subject(claims)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        issued, not_before, expires = (_parse_instant(claims.get(name)) for name in ("iat", "nbf", "exp"))
        if expires <= now or max(issued, not_before) > now + CLOCK_LEEWAY:
            raise InvalidTokenError

    def _subject(self, claims: dict[str, Any]) -> Subject:
        if not all(isinstance(claims.get(name), str) for name in _TEXT_CLAIMS):
            raise InvalidTokenError
        if claims["iss"] != self._issuer or claims["aud"] != self._audience:
            raise InvalidTokenError
        return Subject(
            id=_parse_user_id(claims["sub"]),
            username=claims["username"],
            role=_parse_role(claims["role"]),
            session_id=_check_session_id(claims["sid"]),
            token_id=claims["jti"],
            expires_at=_parse_instant(claims["exp"]),
            scopes=_parse_scopes(claims["scope"]) if "scope" in claims else None,
            account_version=_parse_version(claims["ver"]) if "ver" in claims else None,
        )


def token_digest(token: bytes) -> bytes:
    """What identifies a token in memory: a hash, so that a memory dump of the process contains no list of tokens."""
    return sha256(token).digest()


def seal(payload: bytes, *, key: bytes, footer: bytes = b"", implicit: bytes = b"") -> str:
    token = ProtocolVersion4.encrypt(payload, _symmetric_key(key), footer=footer, implicit=implicit)
    return cast("bytes", token).decode("ascii")


def open_sealed(token: str, *, key: bytes, implicit: bytes = b"") -> bytes:
    """Return the payload of a canonical v4.local token, or raise InvalidTokenError."""
    split(token)
    try:
        payload = ProtocolVersion4.decrypt(token.encode("ascii"), _symmetric_key(key), implicit=implicit)
    except (PasetoException, ValueError):
        _refuse()
    return cast("bytes", payload)


def split(token: str) -> tuple[bytes, bytes]:
    """Return the decoded body and footer, after all checks that need no key."""
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii() or not token.startswith(HEADER):
        raise InvalidTokenError
    body, dot, footer = token.removeprefix(HEADER).partition(".")
    if dot and not footer:
        raise InvalidTokenError
    decoded_body, decoded_footer = _decode(body), _decode(footer)
    if len(decoded_body) < _MIN_BODY_BYTES or len(decoded_footer) > MAX_FOOTER_LENGTH:
        raise InvalidTokenError
    return decoded_body, decoded_footer


def _refuse() -> NoReturn:
    raise InvalidTokenError from None


def _symmetric_key(key: bytes) -> SymmetricKey:
    if len(key) != KEY_BYTES:
        raise InvalidTokenError
    return SymmetricKey(key, ProtocolVersion4)


def _decode(text: str) -> bytes:
    """Decode base64url without padding and spare bits: encoding must give the same text again."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _refuse()
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        raise InvalidTokenError
    return data


def _parse_kid(footer: bytes) -> str:
    members = _parse_object(footer)
    kid = members.get("kid")
    if set(members) != {"kid"} or not isinstance(kid, str):
        raise InvalidTokenError
    return kid


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        _refuse()
    if not isinstance(value, dict):
        raise InvalidTokenError
    return value


def _parse_instant(value: object) -> datetime:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        _refuse()
    if instant is None or instant.tzinfo is None:
        raise InvalidTokenError
    return instant


def _parse_user_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(_MAX_ID)) or not 0 < int(text) <= _MAX_ID:
        raise InvalidTokenError
    return int(text)


def _check_session_id(text: str) -> str:
    """A session's or an API key's number, as auth writes it; the form of any further kind of ``sid`` belongs here."""
    found = _SESSION_ID.fullmatch(text)
    if found is None or int(found[1]) > _MAX_ID:
        raise InvalidTokenError
    return text


def _parse_version(value: object) -> int:
    # A boolean is an int to Python.
    if type(value) is not int or not 0 < value <= _MAX_ID:
        raise InvalidTokenError
    return value


def _parse_role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        _refuse()


def _parse_scopes(text: object) -> frozenset[Scope]:
    """The known scopes; others, which a later version may define, give nothing here."""
    if not isinstance(text, str):
        raise InvalidTokenError
    return frozenset(Scope(word) for word in text.split(" ") if word in _SCOPES)


def _format_rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
