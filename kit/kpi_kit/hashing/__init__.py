"""Hashes of passwords: new ones with argon2id, and verification of what older systems stored."""

from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.hashing.errors import (
    CostlyHashError,
    HasherBusyError,
    HashingError,
    RefusedHashError,
    RefusedPasswordError,
    UnknownHashError,
)
from kpi_kit.hashing.fake import HashFake
from kpi_kit.hashing.functions import HashFunctions
from kpi_kit.hashing.hasher import Hasher
from kpi_kit.hashing.parameters import Parameters

__all__ = [
    "Ceilings",
    "CostlyHashError",
    "HashFake",
    "HashFunctions",
    "Hasher",
    "HasherBusyError",
    "HashingError",
    "Parameters",
    "RefusedHashError",
    "RefusedPasswordError",
    "UnknownHashError",
]
