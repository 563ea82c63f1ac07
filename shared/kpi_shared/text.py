"""Text that PostgreSQL can store."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError


def _check_storable(value: str) -> str:
    """Refuse U+0000, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot encode."""
    if "\0" in value:
        raise PydanticCustomError("nul_character", "Text must not contain the NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise PydanticCustomError("lone_surrogate", "Text must not contain a lone surrogate") from None
    return value


def _check_secret(value: SecretStr) -> SecretStr:
    _check_storable(value.get_secret_value())
    return value


StorableText = Annotated[str, AfterValidator(_check_storable)]
StorableSecret = Annotated[SecretStr, AfterValidator(_check_secret)]
