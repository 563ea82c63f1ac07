"""What the auth service can be told."""

import os
from typing import ClassVar

from kpi_shared.parts import Part
from kpi_shared.settings import ServiceSettings
from pydantic import Field

PART = Part(name="auth", package="kpi_auth", port=8001)


class AuthSettings(ServiceSettings):
    part: ClassVar[Part] = PART

    access_token_expire_minutes: int = Field(default=15, ge=1, le=24 * 60)

    # argon2id at OWASP's first recommendation (Password Storage Cheat Sheet).
    argon2_memory_kib: int = Field(default=19456, ge=8, le=4 * 1024 * 1024)
    argon2_time_cost: int = Field(default=2, ge=1, le=100)
    argon2_parallelism: int = Field(default=1, ge=1, le=64)
    # Threads that hash, and how many hashes may wait for them before the answer is 503.
    hash_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    hash_queue: int = Field(default=32, ge=0, le=10_000)
