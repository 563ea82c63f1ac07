"""Import the package that a driver needs, when the driver is chosen."""

from importlib import import_module
from types import ModuleType

from kpi_kit.errors import MissingExtraError


def import_driver(module: str, *, extra: str, package: str | None = None) -> ModuleType:
    """The module of the kit with the driver; MissingExtraError if what it imports is not installed.

    ``package`` is the name under which the missing package is installed, where it differs from that of its module.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.partition(".")[0] == "kpi_kit":
            raise
        raise MissingExtraError(package or missing.partition(".")[0], extra) from error
