"""Where a key ring is read again while a part runs."""

import asyncio
from pathlib import Path
from typing import Protocol

from kpi_shared.aws import read_member
from kpi_shared.key_ring import MAX_BYTES, BadRingError
from kpi_shared.settings import OptionalTokenSettings, TokenSettings

# A change is in use within a second.
_FILE_SECONDS = 0.25


class RingSource(Protocol):
    """``interval`` is the time between two readings; ``name`` is for the operator."""

    name: str
    interval: float

    async def read(self) -> bytes:
        """BadRingError if it cannot be read."""


class FileRing:
    """The content is compared, not its time or size: two changes within one tick of a clock may leave those equal."""

    interval = _FILE_SECONDS

    def __init__(self, path: Path) -> None:
        self.name = f"PASETO_KEYS_FILE: {path}"
        self._path = path

    async def read(self) -> bytes:
        try:
            # In a thread: a volume of a network may not respond.
            return await asyncio.to_thread(self._read)
        except OSError as error:
            raise BadRingError(error.strerror or type(error).__name__) from None

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(MAX_BYTES + 1)


class AwsRing:
    """The member PASETO_KEYS of the AWS secret."""

    def __init__(self, settings: TokenSettings | OptionalTokenSettings) -> None:
        self.name = f"AWS secret {settings.aws_secret_name!r}: PASETO_KEYS"
        self.interval = settings.aws_secrets_refresh
        self._settings = settings

    async def read(self) -> bytes:
        settings = self._settings
        try:
            return await asyncio.to_thread(
                read_member,
                "PASETO_KEYS",
                settings.aws_secret_name or "",
                settings.aws_region,
                settings.aws_endpoint_url,
            )
        except ValueError as error:
            raise BadRingError(str(error)) from None


def source_of(settings: TokenSettings | OptionalTokenSettings) -> RingSource | None:
    """None if the keys are those of the environment, which do not change."""
    if settings.has_ring_in_aws:
        return AwsRing(settings)
    return FileRing(settings.ring_file) if settings.ring_file is not None else None
