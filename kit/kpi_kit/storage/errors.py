"""The errors of the storage. None quotes a credential, a URL, or what a server has responded."""

from kpi_kit.errors import DriverUnavailableError, KitError


class StorageError(KitError):
    """The base of the storage's errors. ``reason`` is a short word of the system or the server: ``AccessDenied``."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(f"{message}: {reason}" if reason else message)
        self.reason = reason


class PathError(StorageError, ValueError):
    """The path is not one of ``check_path``. The message does not quote it: it may be anything."""


class StorageValueError(StorageError, ValueError):
    """A limit, a size or a time is out of its bounds, or a header has a control character."""


class NotStoredError(StorageError):
    """There is no file with this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no file {path!r}")


class AlreadyStoredError(StorageError):
    """There is a file with this path, and the call was to make a new one only."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is a file {path!r} already")


class StorageUnavailableError(StorageError, DriverUnavailableError):
    """The server or the disk did not respond, or cannot do it now. The same call may succeed later."""

    def __init__(self, reason: str) -> None:
        super().__init__("the storage is not available", reason=reason)


class StorageRefusedError(StorageError):
    """The server or the system has refused the call, and will again.

    Its rights, its credentials, its configuration or the path are at fault.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the storage has refused the call", reason=reason)


class PathConflictError(StorageRefusedError):
    """A file would have the path of a folder with files, or be in a folder that is a file. A bucket has no folders."""

    def __init__(self, path: str) -> None:
        StorageError.__init__(
            self, f"there are files below {path!r}, or one of its folders is a file", reason="PathConflict"
        )


class CannotSignError(StorageError):
    """The driver has no server that would check a signed URL."""

    def __init__(self, driver: str) -> None:
        super().__init__(f"the driver {driver} signs no URLs: pass the file on in a response, or use s3://")


class NoPublicUrlError(StorageError):
    """The URL of the storage has no option ``public_url``."""

    def __init__(self) -> None:
        super().__init__("this storage has no public address: its URL needs the option public_url=https://...")


class NoDiskError(StorageError, KeyError):
    """No disk has this name."""

    def __init__(self, name: str, names: list[str]) -> None:
        super().__init__(f"there is no disk {name!r}; there are: {', '.join(names) or 'none'}")

    def __str__(self) -> str:
        # KeyError would show the message in quotes.
        return str(self.args[0])
