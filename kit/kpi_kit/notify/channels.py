"""From the URLs of channels to channels."""

import re
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from pydantic import SecretStr

from kpi_kit.drivers import choose_driver
from kpi_kit.errors import UrlError
from kpi_kit.notify.contract import Channel, NotificationStore
from kpi_kit.notify.drivers import DRIVERS
from kpi_kit.notify.errors import UnknownChannelError

if TYPE_CHECKING:
    from kpi_kit.mail import Mailer

_APPRISE = "apprise"
_PREFIX = "apprise+"
# A part of the names of jobs.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def build_channels(
    urls: Mapping[str, str | SecretStr],
    *,
    mailer: "Mailer | None",
    store: NotificationStore | None,
    seconds: float,
) -> dict[str, Channel]:
    """By their names; UrlError, MissingExtraError or UnknownChannelError. Nothing is opened."""
    channels = {name: build_channel(url, seconds) for name, url in urls.items()}
    if mailer is not None:
        channels["mail"] = _load("mail").MailChannel(mailer, seconds)
    if store is not None:
        from kpi_kit.notify.drivers.database import DatabaseChannel  # noqa: PLC0415 only for those who have a store

        channels["database"] = DatabaseChannel(store, seconds)
    given = {"mail": mailer, "database": store}
    if twice := sorted(name for name in urls if given.get(name) is not None):
        raise UnknownChannelError(f"the channel {twice[0]} is given twice: as an object, and by a URL")
    return check_names(channels)


def check_names(channels: Mapping[str, Channel]) -> dict[str, Channel]:
    """UnknownChannelError for a name that is not one."""
    for name in channels:
        if not _NAME.fullmatch(name):
            raise UnknownChannelError(
                "the name of a channel has 1 to 40 characters of a-z, 0-9, _ and -, first a letter"
            )
    return dict(channels)


def build_channel(url: str | SecretStr, seconds: float) -> Channel:
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    channel: Channel
    if text.lower().startswith(_PREFIX):
        if not text.isprintable() or " " in text:
            raise UrlError("a URL of apprise has no spaces: percent-encode special characters")
        # Its scheme is one of more than a hundred, which apprise knows.
        channel = _load(_APPRISE).create_driver(text, seconds)
    else:
        driver, parts = choose_driver(url, DRIVERS)
        channel = driver.load().create_driver(parts, seconds)
    return channel


def _load(name: str) -> ModuleType:
    return next(driver for driver in DRIVERS if driver.name == name).load()
