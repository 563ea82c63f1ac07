"""Which header fields of a request are credentials, and the API key among them."""

from collections.abc import Sequence

from kpi_gateway.credentials.errors import SeveralCredentialsError

Pair = tuple[bytes, bytes]

AUTHORIZATION = b"authorization"
FIELDS = frozenset({AUTHORIZATION, b"octopus-api-key", b"x-api-key"})
_PREFIX = b"kpi_"
_BEARER = b"bearer "
_TOKEN = b"Bearer v4.local."


def find_key(presented: Sequence[Pair]) -> bytes | None:
    """The API key among the fields that are credentials, or None; it may have a wrong form.

    Raises SeveralCredentialsError for a key beside another credential. Tokens alone are left to the services.
    """
    if len(presented) == 1 and presented[0][0] == AUTHORIZATION and presented[0][1].startswith(_TOKEN):
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
        return token if token.startswith(_PREFIX) else None
    # With another scheme or none it is no valid credential, and must not reach a service even so.
    return value if _PREFIX in value else None
