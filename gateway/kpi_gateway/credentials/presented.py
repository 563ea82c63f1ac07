"""Which header fields of a request are credentials, and the API key among them."""

import re
from collections.abc import Sequence

from kpi_gateway.credentials.errors import SeveralCredentialsError

Pair = tuple[bytes, bytes]

AUTHORIZATION = b"authorization"
FIELDS = frozenset({AUTHORIZATION, b"octopus-api-key", b"x-api-key"})
_PREFIX = b"kpi_"
_BEARER = b"bearer "
_TOKENS = (b"Bearer v4.local.", b"Bearer v4.public.")
# The random text of a token may contain the prefix, and practically never the form of a key.
_TOKEN_FORM = re.compile(rb"v4\.(?:local|public)\.[A-Za-z0-9_-]+")
_KEY_FORM = re.compile(rb"kpi_(?:live|test)_[1-9][0-9]{0,18}_[0-9A-Za-z]{49}")
# In place of a key where none is accepted: it has no valid form, and so gets the response to an invalid key.
_MISPLACED = b"kpi_"


def find_key(presented: Sequence[Pair]) -> bytes | None:
    """The API key among the fields that are credentials, or None; it may have a wrong form.

    Raises SeveralCredentialsError for a key beside another credential. Tokens alone are left to the services.
    """
    if len(presented) == 1 and presented[0][0] == AUTHORIZATION:
        value = presented[0][1]
        if value.startswith(_TOKENS) and _PREFIX not in value:
            # Nearly all requests with a credential.
            return None
    keys: set[bytes] = set()
    has_other = False
    for name, value in presented:
        key = _key_in_authorization(value) if name == AUTHORIZATION else value.strip(b" \t")
        if key is None:
            has_other = True
        else:
            keys.add(key)
    if not keys:
        return None
    if has_other or len(keys) > 1:
        raise SeveralCredentialsError
    return keys.pop()


def _key_in_authorization(value: bytes) -> bytes | None:
    if value[: len(_BEARER)].lower() == _BEARER:
        token = value[len(_BEARER) :].strip(b" \t")
        if token.startswith(_PREFIX):
            return token
        if _TOKEN_FORM.fullmatch(token) and not _KEY_FORM.search(token):
            return None
    # Elsewhere in the field, with another scheme or none it is no valid credential, and must not reach a service.
    return _MISPLACED if _PREFIX in value else None
