"""What every client of the kit keeps: it can be opened again once it is closed, and not before."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kpi_kit.errors import AlreadyOpenError, NotOpenError


async def open_anew(client: Any, use: Callable[[], Awaitable[object]]) -> None:
    """``client`` is open, and so it is at the end. S3 was broken only from the third opening on."""
    for _ in range(3):
        with pytest.raises(AlreadyOpenError, match="is open already"):
            await client.__aenter__()
        await use()
        await client.__aexit__(None, None, None)
        with pytest.raises(NotOpenError, match="is not open"):
            await use()
        await client.__aenter__()
    await use()
