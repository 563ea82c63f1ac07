"""The fields of an API key as clients send them."""

import ipaddress
import re
from enum import StrEnum
from typing import Annotated

from kpi_shared.addresses import Network
from kpi_shared.caller import Scope
from kpi_shared.integers import Integer
from kpi_shared.text import OneLine, StorableText
from pydantic import AfterValidator, BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

_SEPARATORS = re.compile(r"[ ,]+")
MAX_NETWORKS = 100
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")

Name = Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine()]
Description = Annotated[StorableText, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


def _split(value: object) -> object:
    """Accept one string, ``read write`` or ``read,write``, in place of a list."""
    return [word for word in _SEPARATORS.split(value) if word] if isinstance(value, str) else value


def _sort(values: list[Scope]) -> list[Scope]:
    """Each scope once, in the order of their rights."""
    return [scope for scope in Scope if scope in values]


Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=20,
        description="What the key may do: a list, or one text with spaces or commas. Each includes those before it",
    ),
    AfterValidator(_sort),
    BeforeValidator(_split, json_schema_input_type=list[Scope] | str),
]


def parse_allowed(text: str) -> Network:
    """A network or an address; IPv4-mapped IPv6 is the same as IPv4. ValueError if it is neither."""
    network = ipaddress.ip_network(text.strip())
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):  # type: ignore[arg-type]
        inner = ipaddress.IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return ipaddress.ip_network(f"{inner}/{network.prefixlen - _MAPPED.prefixlen}")
    return network


def _check_network(value: str) -> str:
    try:
        return str(parse_allowed(value))
    except ValueError:
        raise PydanticCustomError(
            "network", "A network such as 192.0.2.0/24 or 2001:db8::/32, or an address, is required"
        ) from None


_NetworkText = Annotated[str, StringConstraints(min_length=2, max_length=49), AfterValidator(_check_network)]
AllowedNetworks = Annotated[
    list[_NetworkText],
    Field(max_length=MAX_NETWORKS, description="Where the key may be used from; an empty list: everywhere"),
    AfterValidator(lambda values: list(dict.fromkeys(values))),
]


class KeyState(StrEnum):
    """Whether a key can be used. An expired one stays listed until the housekeeping deletes it."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    EXPIRED = "expired"


class EndReason(StrEnum):
    """Why a key is gone. The event of one that only cannot be used any more has its state as the reason."""

    DELETED = "deleted"
    REVOKED = "revoked"
    CLOSED = "closed"
    # It is not: what was begun with it ends.
    NARROWED = "narrowed"


class RateLimit(SQLModel):
    """At most ``requests`` with the key in any ``window`` seconds, in addition to the limits of the gateway."""

    model_config = {"extra": "forbid"}

    requests: Annotated[Integer, Field(ge=1, le=1_000_000)]
    window: Annotated[Integer, Field(ge=1, le=86_400)] = 60
