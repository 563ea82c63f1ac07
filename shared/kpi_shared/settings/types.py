"""The types of settings that several parts have."""

import json
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from kpi_shared.keys import parse_key


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def check_secret_key(value: SecretStr) -> SecretStr:
    parse_key(value.get_secret_value())
    return value


def write_json(value: object) -> object:
    """In the JSON of an AWS secret, JSON may be written as such or as a text."""
    return json.dumps(value) if isinstance(value, dict) else value


def check_collector(value: str) -> str:
    try:
        parts = urlsplit(value)
        # Reading the port validates it. The library's own message quotes what may be a part of a password.
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an address such as http://127.0.0.1:4318")
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
SecretKey = Annotated[SecretStr, AfterValidator(check_secret_key)]
SecretKeys = Annotated[tuple[SecretKey, ...], NoDecode, BeforeValidator(_split)]
