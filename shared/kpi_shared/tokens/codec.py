"""Access tokens: their claims, and the keys that mint and verify them. Both are part of the public contract."""

import json
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from kpi_shared.caller import Role, Scope, Subject
from kpi_shared.key_ring import KeyRing
from kpi_shared.settings import OptionalTokenSettings, TokenSettings
from kpi_shared.tokens.claims import (
    check_session_id,
    format_rfc3339,
    parse_instant,
    parse_kid,
    parse_object,
    parse_role,
    parse_scopes,
    parse_user_id,
    parse_version,
)
from kpi_shared.tokens.sealing import HEADERS, MAX_TOKEN_LENGTH, InvalidTokenError, TokenSeal, seal_of, split

# How much the clocks of two machines may differ. The expiry has no leeway: the token only expires earlier.
CLOCK_LEEWAY = timedelta(seconds=10)
_TEXT_CLAIMS = ("sub", "username", "role", "sid", "jti", "iss", "aud")
# About five megabytes. Decrypting a token takes 30 times as long as finding it here.
_MAX_VERIFIED = 10_000


class NoActiveKeyError(Exception):
    """No token can be minted: the active key was killed, and no next key took its place."""


class TokenCodec:
    """Mints and verifies the access tokens of the platform with the keys of a ring, which ``use`` replaces.

    Its methods wait for nothing, so that a request sees one ring or the other, never a part of each.
    """

    def __init__(self, ring: KeyRing, *, issuer: str, audience: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._verified: dict[bytes, Subject] = {}
        self._killed: frozenset[str] = frozenset()
        # Called with each ring that takes the place of another, for what else is made with its keys.
        self.on_change: list[Callable[[KeyRing], None]] = []
        self.use(ring)

    @classmethod
    def of(cls, settings: TokenSettings | OptionalTokenSettings) -> "TokenCodec":
        return cls(settings.read_ring(), issuer=settings.token_issuer, audience=settings.token_audience)

    @property
    def ring(self) -> KeyRing:
        return self._ring

    def use(self, ring: KeyRing) -> None:
        """Put the ring in the place of the present one. What a key that is not in it has minted is refused from now on.

        A key that was killed once is never in use again, whatever the ring says.
        """
        self._killed |= ring.killed
        ring = ring.kill(self._killed)
        active = ring.active
        self._seals = {key.kid: seal_of(key) for key in ring.keys}
        self._minting: TokenSeal | None = self._seals[active.kid] if active is not None and active.can_mint else None
        self._footer = json.dumps({"kid": active.kid}, separators=(",", ":")).encode() if active is not None else b""
        self._header = HEADERS[ring.purpose]
        self._verified = {digest: each for digest, each in self._verified.items() if each.token_key_id in ring}
        self._ring = ring
        for follow in self.on_change:
            follow(ring)

    def kill(self, *kids: str) -> None:
        """Refuse these keys from now on, for as long as the process runs."""
        if not self._killed.issuperset(kids):
            self._killed |= frozenset(kids)
            self.use(self._ring)

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
        api_key_ends_at: datetime | None = None,
    ) -> str:
        """A new token, or NoActiveKeyError; ``scopes`` narrow it, None gives it all that the role allows.

        ``account_version`` is that of the row from which the name and the role were read.
        ``api_key_ends_at`` may be later than the end of the token.
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
            "iat": format_rfc3339(now),
            "nbf": format_rfc3339(now),
            "exp": format_rfc3339(now + lifetime),
        }
        if account_version is not None:
            claims["ver"] = account_version
        if scopes is not None:
            claims["scope"] = " ".join(scopes)
        if api_key_ends_at is not None:
            claims["key_exp"] = format_rfc3339(api_key_ends_at.astimezone(UTC))
        if self._minting is None:
            raise NoActiveKeyError
        return self._minting.make(json.dumps(claims).encode(), self._footer)

    def verify(self, token: str) -> Subject:
        """Return the subject of the token, or raise InvalidTokenError. ``security`` checks the state of its session.

        Verified tokens are remembered until they expire or their key goes, in this codec and nowhere else.
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
        _body, footer = split(token, self._header)
        seal = self._seals.get(parse_kid(footer))
        if seal is None:
            raise InvalidTokenError
        claims = parse_object(seal.open(token))
        self._check_times(claims)
        return self._subject(claims, seal.kid)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        issued, not_before, expires = (parse_instant(claims.get(name)) for name in ("iat", "nbf", "exp"))
        if expires <= now or max(issued, not_before) > now + CLOCK_LEEWAY:
            raise InvalidTokenError

    def _subject(self, claims: dict[str, Any], kid: str) -> Subject:
        if not all(isinstance(claims.get(name), str) for name in _TEXT_CLAIMS):
            raise InvalidTokenError
        if claims["iss"] != self._issuer or claims["aud"] != self._audience:
            raise InvalidTokenError
        return Subject(
            id=parse_user_id(claims["sub"]),
            username=claims["username"],
            role=parse_role(claims["role"]),
            session_id=check_session_id(claims["sid"]),
            token_id=claims["jti"],
            expires_at=parse_instant(claims["exp"]),
            scopes=parse_scopes(claims["scope"]) if "scope" in claims else None,
            account_version=parse_version(claims["ver"]) if "ver" in claims else None,
            token_key_id=kid,
            api_key_ends_at=parse_instant(claims["key_exp"]) if "key_exp" in claims else None,
        )


def token_digest(token: bytes) -> bytes:
    """What identifies a token in memory: a hash, so that a memory dump of the process contains no list of tokens."""
    return sha256(token).digest()
