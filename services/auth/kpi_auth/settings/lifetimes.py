"""The lifetimes of sessions and their tokens."""

from dataclasses import dataclass
from datetime import timedelta

from kpi_auth.settings.auth_settings import AuthSettings


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """A session's idle and absolute lifetime, an access token's, and the grace period of a used refresh token."""

    idle: timedelta
    absolute: timedelta
    access: timedelta
    grace: timedelta

    @classmethod
    def of(cls, settings: AuthSettings) -> "Lifetimes":
        return cls(
            idle=timedelta(days=settings.session_idle_days),
            absolute=timedelta(days=settings.session_absolute_days),
            access=timedelta(minutes=settings.access_token_expire_minutes),
            grace=timedelta(seconds=settings.refresh_grace_seconds),
        )
