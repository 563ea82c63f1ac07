"""The settings of the auth service."""

import os
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from kpi_shared.addresses import Networks
from kpi_shared.findings import create_finding
from kpi_shared.parts import Part
from kpi_shared.product import PRODUCT
from kpi_shared.settings import DatabaseUrl, Environment, SecretKey, SecretKeys, ServiceSettings
from pydantic import AfterValidator, Field, SecretStr, model_validator

from kpi_auth.settings.mail_urls import mail_sender, mail_target
from kpi_auth.settings.nats_urls import check_stream, check_subject, nats_credentials, nats_servers
from kpi_auth.settings.providers import IdentityProvider, IdentityProviders, JwtSecret, ProjectUrl, SupabasePreset

NO_AUTH_SECRET_KEY = "AUTH_SECRET_KEY is not set: sessions and API keys end with the key of the tokens"  # noqa: S105 a sentence

_SET_AUTH_SECRET_KEY = "set AUTH_SECRET_KEY to a new key: kpi keys new"  # noqa: S105 as above
NO_INTERNAL_PORT = "INTERNAL_PORT and INTERNAL_KEY are not set: the gateway cannot accept API keys"
_SET_INTERNAL_PORT = "set INTERNAL_PORT to a port that is not public, and INTERNAL_KEY to a new key: kpi keys new"
NO_FEED_KEY = "FEED_KEY is not set: other parts trust tokens until they expire, whatever happens here"
_SET_FEED_KEY = "set FEED_KEY to a new key, the same as in content's settings: kpi keys new"

PART = Part(name="auth", package="kpi_auth", port=8001)


def _check_public_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL such as https://api.example.com is needed, without a query")
    return value.rstrip("/")


def _check_mail_url(value: SecretStr) -> SecretStr:
    mail_target(value.get_secret_value())
    return value


def _check_mail_from(value: str) -> str:
    mail_sender(value)
    return value


def _check_nats_url(value: SecretStr) -> SecretStr:
    nats_servers(value.get_secret_value())
    return value


def _check_nats_credentials(value: SecretStr) -> SecretStr:
    nats_credentials(value.get_secret_value())
    return value


class AuthSettings(ServiceSettings):
    part: ClassVar[Part] = PART
    mints_tokens: ClassVar[bool] = True

    # The secret of what lives longer than the key of the tokens, and its predecessors; None: the key of the tokens is
    # used, and replacing that key ends sessions and API keys (docs/adr/0039-long-lived-keys.md).
    auth_secret_key: SecretKey | None = None
    auth_previous_secret_keys: SecretKeys = ()

    access_token_expire_minutes: int = Field(default=15, ge=1, le=24 * 60)

    # The idle and the absolute lifetime of a session; beyond the limit per user, the oldest session ends.
    session_idle_days: float = Field(default=14, gt=0, le=3650)
    session_absolute_days: float = Field(default=90, gt=0, le=3650)
    session_limit: int = Field(default=20, ge=1, le=1000)
    # How long a repeat of the refresh token used last is unsuspicious, as of two tabs that refresh at once; 0: none is
    # accepted.
    refresh_grace_seconds: float = Field(default=10, ge=0, le=60)

    # The window, in seconds, in which failed sign-ins and password confirmations are counted.
    failure_window: float = Field(default=900, gt=0, le=86400)
    # Limits per account and client address, per account, and per client address.
    failures_per_account_and_address: int = Field(default=20, ge=1, le=1000)
    failures_per_account: int = Field(default=100, ge=1, le=10_000)
    failures_per_address: int = Field(default=100, ge=1, le=10_000)
    # Mails with codes per hour: to one e-mail address, and requested from one client address.
    mails_per_account: int = Field(default=5, ge=1, le=1000)
    mails_per_address: int = Field(default=50, ge=1, le=10_000)
    # Registrations per hour from one client address.
    registrations_per_address: int = Field(default=200, ge=1, le=100_000)

    # How many API keys one account may have.
    api_key_limit: int = Field(default=1000, ge=1, le=1_000_000)
    # The port on which the gateway exchanges API keys, and the key by which it is known there; 0: no such port.
    internal_port: int = Field(default=0, ge=0, lt=2**16)
    internal_host: str = "127.0.0.1"
    internal_key: SecretKey | None = None
    # The key by which the readers of the feed of events are known on that port; None: it cannot be read.
    feed_key: SecretKey | None = None
    # Former ones that readers may still have while it is replaced.
    feed_previous_keys: SecretKeys = ()
    # A direct address of the database, on which this process waits for events; None: it looks for them every 200 ms
    # only. DATABASE_URL may lead through a pooler in transaction mode, which passes no notifications on.
    listen_database_url: DatabaseUrl | None = None
    # Events older than this are deleted, except those that are to be known for ever.
    events_keep_days: float = Field(default=30, ge=1, le=3650)
    # Whether the first admin may be made from this machine without the code in the log.
    bootstrap_from_loopback: bool = False

    registration: Literal["open", "closed"] = "open"
    # Does registration disclose that a name, or an address, is taken? None: an address, unless e-mails are sent to
    # real mailboxes (docs/adr/0028-unconfirmed-addresses.md).
    registration_tells_username: bool = True
    registration_tells_email: bool | None = None

    # The public URL of the gateway: links in mails are built from this setting only.
    public_url: Annotated[str, AfterValidator(_check_public_url)] = "http://127.0.0.1:8000"
    # None: no mail is sent, and requests that need one are refused.
    mail_url: Annotated[SecretStr, AfterValidator(_check_mail_url)] | None = None
    mail_from: Annotated[str, Field(max_length=320), AfterValidator(_check_mail_from)] = (
        f"{PRODUCT} <no-reply@localhost>"
    )
    # A replica that cannot reach the mail server still queues mails, and leaves sending to the other replicas.
    mail_worker: bool = True

    # NATS servers to which events go (docs/nats.md); None: none. The credentials are the content of a file of NATS.
    events_nats_url: Annotated[SecretStr, AfterValidator(_check_nats_url)] | None = None
    events_nats_credentials: Annotated[SecretStr, AfterValidator(_check_nats_credentials)] | None = None
    events_nats_stream: Annotated[str, AfterValidator(check_stream)] = "KPI_EVENTS"
    # The first words of each subject; the type of the event follows.
    events_nats_subject: Annotated[str, AfterValidator(check_subject)] = "kpi.events"

    # Identity providers whose tokens sign in here, as JSON: see docs/adr/0013-outside-identities.md.
    identity_providers: IdentityProviders = ()
    # A shorthand for the preset "supabase" there; the secret only for a project without asymmetric signing keys.
    supabase_url: ProjectUrl | None = None
    supabase_jwt_secret: JwtSecret | None = None

    # Audit records older than this are deleted; None: they are kept for ever.
    audit_keep_days: float | None = Field(default=None, ge=1, le=36_500)

    # How many webhooks there may be (docs/webhooks.md), and whether this replica sends events to them.
    webhook_limit: int = Field(default=50, ge=1, le=1000)
    webhook_worker: bool = True
    # Networks that are not public and whose addresses may get events all the same, separated by commas.
    webhook_allowed_networks: Networks = ()
    # None: events may be sent without TLS, but not in production.
    webhook_allow_http: bool | None = None

    # Networks whose X-Forwarded-For is trusted, separated by commas.
    trusted_proxies: Networks = ("127.0.0.0/8", "::1/128")

    # argon2id at OWASP's first recommendation (Password Storage Cheat Sheet).
    argon2_memory_kib: int = Field(default=19456, ge=8, le=4 * 1024 * 1024)
    argon2_time_cost: int = Field(default=2, ge=1, le=100)
    argon2_parallelism: int = Field(default=1, ge=1, le=64)
    # Threads that hash; how many requests may wait for them, and for how many seconds, before the response is 503.
    hash_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    hash_queue: int = Field(default=64, ge=0, le=10_000)
    hash_patience: float = Field(default=1.5, gt=0, le=60)

    @property
    def findings(self) -> list[dict[str, object]]:
        has_port = self.internal_port > 0 and self.internal_key is not None
        return [
            *super().findings,
            self._find("secret key", self.auth_secret_key is not None, NO_AUTH_SECRET_KEY, _SET_AUTH_SECRET_KEY),
            self._find("API keys", has_port, NO_INTERNAL_PORT, _SET_INTERNAL_PORT),
            self._find("feed", has_port and self.feed_key is not None, NO_FEED_KEY, _SET_FEED_KEY),
        ]

    def _find(self, name: str, is_set: bool, otherwise: str, fix: str) -> dict[str, object]:
        is_required = self.app_env is Environment.PRODUCTION
        detail = "set" if is_set else otherwise
        return create_finding(name, ok=is_set or not is_required, detail=detail, fix=fix)

    @property
    def allows_http_webhooks(self) -> bool:
        if self.webhook_allow_http is not None:
            return self.webhook_allow_http
        return self.app_env is not Environment.PRODUCTION

    @property
    def lasting_secrets(self) -> tuple[SecretStr, ...]:
        own = (self.auth_secret_key,) if self.auth_secret_key is not None else ()
        return (*own, *self.auth_previous_secret_keys)

    @property
    def discloses_email(self) -> bool:
        """Does registration disclose that an e-mail address is taken?"""
        if self.registration_tells_email is not None:
            return self.registration_tells_email
        return self.app_env is Environment.DEVELOPMENT or not self._has_mail_server

    @property
    def _has_mail_server(self) -> bool:
        """False if e-mails are written to files, or if there are none."""
        return self.mail_url is not None and not self.mail_url.get_secret_value().lower().startswith("file:")

    @property
    def trusted_providers(self) -> tuple[IdentityProvider, ...]:
        """All identity providers, the one of ``supabase_url`` included."""
        if self.supabase_url is None:
            return self.identity_providers
        preset = SupabasePreset(preset="supabase", project_url=self.supabase_url, secret=self.supabase_jwt_secret)
        return (*self.identity_providers, preset.provider())

    @model_validator(mode="after")
    def _check_supabase(self) -> Self:
        if self.supabase_url is None and self.supabase_jwt_secret is not None:
            raise ValueError("SUPABASE_JWT_SECRET: set SUPABASE_URL too")
        own = self.trusted_providers[len(self.identity_providers) :]
        if any(
            mine.name == other.name or mine.issuer == other.issuer for mine in own for other in self.identity_providers
        ):
            raise ValueError("SUPABASE_URL: IDENTITY_PROVIDERS already has this provider; set one of the two")
        return self

    @model_validator(mode="after")
    def _require_lasting_key(self) -> Self:
        if self.has_ring and self.auth_secret_key is None:
            raise ValueError("AUTH_SECRET_KEY: is required with PASETO_KEYS_FILE: sessions outlive the keys in it")
        return self

    @model_validator(mode="after")
    def _require_internal_key(self) -> Self:
        if self.internal_port and self.internal_key is None:
            raise ValueError("INTERNAL_PORT: set INTERNAL_KEY too, the key by which the gateway is known there")
        return self

    @model_validator(mode="after")
    def _require_different_keys(self) -> Self:
        if self.feed_key is not None and self.feed_key == self.internal_key:
            raise ValueError("FEED_KEY: must differ from INTERNAL_KEY, which opens other paths")
        if self.feed_previous_keys and self.feed_key is None:
            raise ValueError("FEED_PREVIOUS_KEYS: set FEED_KEY too")
        if self.internal_key in self.feed_previous_keys:
            raise ValueError("FEED_PREVIOUS_KEYS: must differ from INTERNAL_KEY, which opens other paths")
        return self

    @model_validator(mode="after")
    def _require_mail_for_silence(self) -> Self:
        if self.mail_url is None and not (self.discloses_email and self.registration_tells_username):
            raise ValueError(
                "REGISTRATION_TELLS_...: what registration does not disclose is sent by e-mail; set MAIL_URL too"
            )
        return self
