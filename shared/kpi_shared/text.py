"""Text that PostgreSQL can store."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError


def _checked(value: str) -> str:
    """Refuse U+0000, which PostgreSQL's text cannot hold, and lone surrogates, which UTF-8 cannot."""
    if "\0" in value:
        raise PydanticCustomError("nul_character", "Text must not contain the NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise PydanticCustomError("lone_surrogate", "Text must not contain half a surrogate pair") from None
    return value


def _checked_secret(value: SecretStr) -> SecretStr:
    _checked(value.get_secret_value())
    return value


StorableText = Annotated[str, AfterValidator(_checked)]
StorableSecret = Annotated[SecretStr, AfterValidator(_checked_secret)]
