"""The settings of the auth service."""

from kpi_auth.settings.auth_settings import NO_AUTH_SECRET_KEY, PART, AuthSettings

__all__ = ["NO_AUTH_SECRET_KEY", "PART", "AuthSettings"]
