"""Files by path, in a folder, in a bucket of S3 or in memory."""

from kpi_kit.storage.contract import FileInfo, OpenFile, Stored
from kpi_kit.storage.disks import Disks
from kpi_kit.storage.errors import (
    AlreadyStoredError,
    CannotSignError,
    NoDiskError,
    NoPublicUrlError,
    NotStoredError,
    PathConflictError,
    PathError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
    StorageValueError,
)
from kpi_kit.storage.fake import StorageFake
from kpi_kit.storage.paths import check_path
from kpi_kit.storage.sniffing import sniff
from kpi_kit.storage.storage import Storage

__all__ = [
    "AlreadyStoredError",
    "CannotSignError",
    "Disks",
    "FileInfo",
    "NoDiskError",
    "NoPublicUrlError",
    "NotStoredError",
    "OpenFile",
    "PathConflictError",
    "PathError",
    "Storage",
    "StorageError",
    "StorageFake",
    "StorageRefusedError",
    "StorageUnavailableError",
    "StorageValueError",
    "Stored",
    "check_path",
    "sniff",
]
