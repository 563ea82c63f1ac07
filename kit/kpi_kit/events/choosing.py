"""The driver that a URL chooses."""

from urllib.parse import parse_qsl, urlencode

from pydantic import SecretStr

from kpi_kit.drivers import Driver, choose_driver
from kpi_kit.events.drivers import DRIVERS
from kpi_kit.urls import Url

_POSTGRESQL = next(driver for driver in DRIVERS if driver.name == "postgresql")


def choose(url: str | SecretStr) -> tuple[Driver, Url]:
    """libpq itself reads an address of PostgreSQL, since it may have several hosts, and all its parameters."""
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    scheme = text.partition("://")[0]
    if scheme not in _POSTGRESQL.forms:
        return choose_driver(url, DRIVERS)
    address, _, query = text.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = {name: value for name, value in pairs if name in _POSTGRESQL.options}
    rest = urlencode([(name, value) for name, value in pairs if name not in options])
    address = f"postgresql://{address.partition('://')[2]}"
    return _POSTGRESQL, Url(scheme, "", None, None, None, "", options, f"{address}?{rest}" if rest else address)
