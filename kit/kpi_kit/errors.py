"""The root of the errors of all libraries of the kit. Each library's own errors stand in its folder.

What a public call raises for a value, which may come from data or from settings, for what is stored, or for what
another system does, is a KitError; for a value, it is a ValueError, too. A plain TypeError or RuntimeError is for a
call that is wrong whatever the data: an argument of another type, or a client that is opened while it is open
(AlreadyOpenError). What the caller's own code raises is passed on.
"""


class KitError(Exception):
    """The base of all errors of the kit. No message quotes a password, a key or the content of a message.

    ``outcome`` is the label of metrics for a call that ended so: "error", or "unavailable".
    """

    outcome = "error"


class MissingExtraError(KitError, ImportError):
    """A driver needs a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: add kpi-kit[{extra}] to the dependencies")


class UrlError(KitError, ValueError):
    """The URL of a library has a form that it does not know. The message never quotes it: it may have a password."""


class DriverUnavailableError(KitError):
    """The server behind a driver did not respond, or cannot handle the call now. The same call may succeed later."""

    outcome = "unavailable"


class NotConfiguredError(KitError):
    """A library is used whose setting is empty."""

    def __init__(self, library: str, setting: str) -> None:
        super().__init__(f"{library} is not configured: set {setting} (.venv/bin/kpi libs {library} prints its forms)")


class NoEffectError(KitError):
    """A library is configured, and lacks what the service must give it in its code."""

    def __init__(self, setting: str, missing: str) -> None:
        super().__init__(f"{setting}, and has no effect: {missing}")


class NotOpenError(KitError):
    """A library is used before its ``async with`` block or after it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} is not open: use it inside `async with`")


class AlreadyOpenError(RuntimeError):
    """A client is opened while it is open: its users share it. Once closed, it may be opened again."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} is open already: share it and what is made from it, without another `async with`")


class KitNotOpenError(KitError):
    """An endpoint uses a library, and the application has not opened the kit."""

    def __init__(self) -> None:
        super().__init__("the kit is not open: enter kpi_kit.fastapi.open_kit(app, settings) in the lifespan")
