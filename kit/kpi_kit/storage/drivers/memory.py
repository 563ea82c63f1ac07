"""Files in the memory of this process."""

from obstore.store import MemoryStore

from kpi_kit.errors import UrlError
from kpi_kit.storage.drivers.objects import ObjectDriver
from kpi_kit.urls import Url


def create_driver(url: Url) -> "MemoryDriver":
    if url.host or url.port or url.username or url.path.strip("/"):
        raise UrlError("the URL of a storage in memory is memory://")
    return MemoryDriver()


class MemoryDriver(ObjectDriver):
    """A file that is uploaded in chunks is held as a whole before it takes its place."""

    name = "memory"

    def __init__(self) -> None:
        self._store = MemoryStore()
