"""What the auth service can be told."""

from kpi_auth.settings.auth_settings import PART, AuthSettings

__all__ = ["PART", "AuthSettings"]
