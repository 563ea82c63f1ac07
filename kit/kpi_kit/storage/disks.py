"""Several storages by name, such as one for invoices and one for pictures."""

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from kpi_kit.observing import Observer
from kpi_kit.storage.errors import NoDiskError
from kpi_kit.storage.storage import Storage


class Disks(Mapping[str, Storage]):
    """``disks["invoices"]`` is a Storage; NoDiskError for an unknown name. It opens and closes all of them."""

    def __init__(self, storages: Mapping[str, Storage]) -> None:
        self._storages = dict(storages)
        self._opened = AsyncExitStack()

    @classmethod
    def from_urls(cls, urls: Mapping[str, str | SecretStr], *, observer: Observer | None = None) -> Self:
        """UrlError as ``Storage.from_url``."""
        return cls({name: Storage.from_url(url, observer=observer) for name, url in urls.items()})

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            for storage in self._storages.values():
                await opened.enter_async_context(storage)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def __getitem__(self, name: str) -> Storage:
        try:
            return self._storages[name]
        except KeyError:
            raise NoDiskError(name, sorted(self._storages)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._storages)

    def __len__(self) -> int:
        return len(self._storages)
