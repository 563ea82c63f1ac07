"""Access tokens: minting, verification, and the PASETO functions underneath."""

from kpi_shared.key_ring import KeyRing
from kpi_shared.tokens.codec import CLOCK_LEEWAY, NoActiveKeyError, TokenCodec, token_digest
from kpi_shared.tokens.sealing import (
    HEADER,
    MAX_FOOTER_LENGTH,
    MAX_TOKEN_LENGTH,
    PUBLIC_HEADER,
    InvalidTokenError,
    open_sealed,
    open_signed,
    seal,
    split,
)

__all__ = [
    "CLOCK_LEEWAY",
    "HEADER",
    "MAX_FOOTER_LENGTH",
    "MAX_TOKEN_LENGTH",
    "PUBLIC_HEADER",
    "InvalidTokenError",
    "KeyRing",
    "NoActiveKeyError",
    "TokenCodec",
    "open_sealed",
    "open_signed",
    "seal",
    "split",
    "token_digest",
]
