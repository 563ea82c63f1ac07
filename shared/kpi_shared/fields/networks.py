"""Addresses of IPv4 and IPv6."""

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def _require_address(value: object) -> object:
    """Python also reads a number, and a zone as in fe80::1%eth0, which PostgreSQL does not store."""
    if isinstance(value, IPv4Address | IPv6Address) or (isinstance(value, str) and "%" not in value):
        return value
    raise PydanticCustomError("ip_address", "Input should be an IPv4 or IPv6 address without a zone")


IpAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(_require_address)]
