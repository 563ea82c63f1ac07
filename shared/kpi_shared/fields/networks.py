"""Addresses of IPv4 and IPv6."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def _read_address(value: object) -> IPv4Address | IPv6Address:
    """Python also reads a number, and a zone as in fe80::1%eth0, which PostgreSQL does not store.

    Read here, so that there is one error of the field, and not one for each of the two types.
    """
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    if isinstance(value, str) and "%" not in value:
        with suppress(ValueError):
            return ip_address(value)
    raise PydanticCustomError("ip_address", "Input should be an IPv4 or IPv6 address without a zone")


IpAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(_read_address)]
