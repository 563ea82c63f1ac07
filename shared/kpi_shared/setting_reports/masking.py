"""Values of settings without what is secret in them."""

import re

MASK = "***"
# Everything between the scheme and the last @ may be a password, also one whose special characters are not encoded.
_CREDENTIALS = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://)\S*@")
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(.*)", re.DOTALL)


def mask_credentials(text: str) -> str:
    """A text of any kind, without the name and password of each address in it."""
    return _CREDENTIALS.sub(rf"\1{MASK}@", text)


def mask_secret(text: str, *, is_valid: bool) -> str:
    """A secret. Of an address the host is shown, if it is known to be one: it has a name and password, and is valid."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not is_valid:
        return MASK
    scheme, rest = match.groups()
    if scheme == "file://":
        return text
    authority = re.split(r"[/?#]", rest)[0]
    _, at, place = rest.rpartition("@")
    # A parameter may be a password, too, and what stands after a further @ may belong to one, or to a path.
    is_host = at and "@" not in rest[len(authority) :]
    return f"{scheme}{MASK}{at}{re.split(r'[?#]', place)[0]}" if is_host else f"{scheme}{MASK}"
