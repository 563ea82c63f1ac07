"""E-mail addresses, in the form in which they are stored and compared."""

import unicodedata
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

MAX_EMAIL = 254


def normalize_email(value: str) -> str:
    """The form in which an address is stored and looked up; no DNS query is made."""
    try:
        address = validate_email(unicodedata.normalize("NFKC", value), check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        raise PydanticCustomError("email", "{reason}", {"reason": str(error)}) from None
    return address.normalized.lower()


Email = Annotated[
    str,
    StringConstraints(max_length=MAX_EMAIL),
    AfterValidator(normalize_email),
    Field(json_schema_extra={"format": "email"}),
]
