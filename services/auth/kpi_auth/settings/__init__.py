"""The settings of the auth service."""

from kpi_auth.settings.auth_settings import PART, AuthSettings

__all__ = ["PART", "AuthSettings"]
