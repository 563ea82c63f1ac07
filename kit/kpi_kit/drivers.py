"""The table of a library's drivers, by which ``from_url`` chooses and ``kpi libs`` lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType

from pydantic import SecretStr

from kpi_kit.extras import import_driver
from kpi_kit.urls import Url, parse_url, split_libpq_url


@dataclass(frozen=True)
class Driver:
    """One way in which a library does its work.

    The table of each library is ``DRIVERS`` in ``kpi_kit/<library>/drivers/__init__.py``, a file that imports nothing
    but this module, so that it can be read where no extra is installed.
    """

    # The label of its metrics: "redis".
    name: str
    # For a list of one line each: "Redis or Valkey, shared by all processes".
    purpose: str
    # The module that is imported when the driver is chosen: "kpi_kit.cache.drivers.redis".
    module: str
    # An example of a URL for each scheme, with no real password: {"redis": "redis://cache:6379/0"}.
    forms: Mapping[str, str] = field(default_factory=dict)
    # The names that the query of the URL may have.
    options: Sequence[str] = ()
    # Whether the URL is one of PostgreSQL, for kpi_kit.libpq: then these are beside the parameters of libpq.
    is_libpq: bool = False
    # The extra of kpi-kit with what the module imports, and the names of these imports: "cache-redis", ("cashews",).
    extra: str = ""
    packages: Sequence[str] = ()

    def load(self) -> ModuleType:
        """The module, which offers ``create_driver``; MissingExtraError if what it imports is not installed."""
        return import_driver(self.module, extra=self.extra)

    def find_missing(self) -> list[str]:
        """The packages that are not installed; none of them is imported."""
        return [package for package in self.packages if find_spec(package) is None]


def choose_driver(url: str | SecretStr, drivers: Sequence[Driver]) -> tuple[Driver, Url]:
    """The driver whose scheme the URL has, and the parts of the URL; UrlError for an unknown scheme or option."""
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    scheme = text.partition(":")[0].lower()
    chosen = next((driver for driver in drivers if scheme in driver.forms), None)
    if chosen is not None and chosen.is_libpq:
        return chosen, split_libpq_url(text, forms=chosen.forms, options=chosen.options)
    forms = {name: example for driver in drivers for name, example in driver.forms.items()}
    parts = parse_url(url, forms=forms, options=chosen.options if chosen else ())
    # With no driver of this scheme, the line before has raised.
    return next(driver for driver in drivers if parts.scheme in driver.forms), parts
