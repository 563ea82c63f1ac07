"""The settings of a part."""

from kpi_shared.settings.part_settings import PartSettings
from kpi_shared.settings.service_settings import DatabaseSettings, DatabaseUrl, ServiceSettings, database_settings_of
from kpi_shared.settings.sources import Environment, SettingsError
from kpi_shared.settings.token_settings import OptionalTokenSettings, TokenSettings
from kpi_shared.settings.types import CommaSeparated, SecretKey, SecretKeys

__all__ = [
    "CommaSeparated",
    "DatabaseSettings",
    "DatabaseUrl",
    "Environment",
    "OptionalTokenSettings",
    "PartSettings",
    "SecretKey",
    "SecretKeys",
    "ServiceSettings",
    "SettingsError",
    "TokenSettings",
    "database_settings_of",
]
