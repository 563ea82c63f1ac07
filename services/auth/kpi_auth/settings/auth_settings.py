"""The settings of the auth service."""

import os
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from kpi_kit.mail.addresses import read_mailbox
from kpi_kit.mail.drivers import DRIVERS
from kpi_kit.mail.urls import read_target
from kpi_shared.addresses import Networks
from kpi_shared.findings import create_finding
from kpi_shared.parts import Part
from kpi_shared.product import PRODUCT
from kpi_shared.settings import DatabaseUrl, Environment, SecretKey, SecretKeys, ServiceSettings
from pydantic import AfterValidator, Field, SecretStr, model_validator

from kpi_auth.settings.nats_urls import check_stream, check_subject, nats_credentials, nats_servers
from kpi_auth.settings.providers import IdentityProvider, IdentityProviders, JwtSecret, ProjectUrl, SupabasePreset

NO_AUTH_SECRET_KEY = "AUTH_SECRET_KEY is not set: sessions and API keys end with the key of the tokens"  # noqa: S105 a sentence

_SET_AUTH_SECRET_KEY = "set AUTH_SECRET_KEY to a new key: kpi keys new"  # noqa: S105 as above
NO_INTERNAL_PORT = "INTERNAL_PORT and INTERNAL_KEY are not set: the gateway cannot accept API keys"
_SET_INTERNAL_PORT = "set INTERNAL_PORT to a port that is not public, and INTERNAL_KEY to a new key: kpi keys new"
NO_FEED_KEY = "FEED_KEY is not set: other parts trust tokens until they expire, even if their session has ended"
_SET_FEED_KEY = "set FEED_KEY to a new key, the same as in content's settings: kpi keys new"

# Mails that only stay in the process's memory would be lost.
_MAIL_DRIVERS = [driver for driver in DRIVERS if driver.name != "memory"]

PART = Part(name="auth", package="kpi_auth", port=8001)


def _check_public_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL such as https://api.example.com is needed, without a query")
    return value.rstrip("/")


def _check_mail_url(value: SecretStr) -> SecretStr:
    read_target(value, _MAIL_DRIVERS)
    return value


def _check_mail_from(value: str) -> str:
    read_mailbox(value)
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

    # None: the key of the tokens is used, and replacing that key ends sessions and API keys (ADR 39).
    auth_secret_key: SecretKey | None = Field(
        default=None,
        title="The secret of what outlives the keys of the tokens",
        description="Required for production, and with a key ring. 64 other hex digits, for this service only: "
        "refresh tokens, API keys and the chain of audit records depend on it, so it is replaced deliberately. "
        "Without it, replacing PASETO_SECRET_KEY ends sessions and API keys.",
        examples=[""],
    )
    auth_previous_secret_keys: SecretKeys = Field(
        default=(),
        description="Former values of AUTH_SECRET_KEY, separated by commas: what was made with them is still accepted. "
        "A key of the tokens that was in use before AUTH_SECRET_KEY was set can stand here too.",
    )

    access_token_expire_minutes: int = Field(
        default=15, ge=1, le=24 * 60, title="Sessions", description="How long an access token is valid, in minutes."
    )
    session_idle_days: float = Field(
        default=14, gt=0, le=3650, description="A session ends after this many days without use."
    )
    session_absolute_days: float = Field(
        default=90, gt=0, le=3650, description="A session ends after this many days, however much it is used."
    )
    session_limit: int = Field(
        default=20, ge=1, le=1000, description="Sessions of one account; one more ends the oldest."
    )
    refresh_grace_seconds: float = Field(
        default=10,
        ge=0,
        le=60,
        description="The last used refresh token is accepted again until its successor is used (a lost response, or "
        "two tabs at once). A repeat later than this many seconds is suspicious, and so is one from another network "
        "or program; suspicious repeats end the session (docs/adr/0034-second-holders.md). 0: no repeat is accepted.",
    )

    failure_window: float = Field(
        default=900,
        gt=0,
        le=86400,
        title="Limits against guessing and floods",
        description="The seconds within which failed sign-ins and other password checks are counted.",
    )
    failures_per_account_and_address: int = Field(
        default=20, ge=1, le=1000, description="How many may fail for one account from one client address."
    )
    failures_per_account: int = Field(default=100, ge=1, le=10_000, description="How many may fail for one account.")
    failures_per_address: int = Field(
        default=100, ge=1, le=10_000, description="How many may fail from one client address."
    )
    mails_per_account: int = Field(
        default=5, ge=1, le=1000, description="Mails with codes that are sent to one e-mail address in an hour."
    )
    mails_per_address: int = Field(
        default=50, ge=1, le=10_000, description="Mails with codes that one client address may request in an hour."
    )
    registrations_per_address: int = Field(
        default=200, ge=1, le=100_000, description="Accounts that one client address may register in an hour."
    )

    api_key_limit: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        title="API keys and the internal port",
        description="How many API keys for programs (docs/api-keys.md) an account may have.",
    )
    bootstrap_from_loopback: bool = Field(
        default=False,
        description="true: programs on this machine may make the first admin without the code in the log. Do not set "
        "it if a proxy runs on this machine.",
    )
    internal_port: int = Field(
        default=0,
        ge=0,
        lt=2**16,
        description="The port on which the gateway exchanges API keys and content reads events. It must not be "
        "public. 0: none.",
        examples=["8011"],
    )
    internal_host: str = Field(default="127.0.0.1", description="The address of that port.")
    internal_key: SecretKey | None = Field(
        default=None,
        description="The key with which the gateway authenticates at that port: 64 hex digits, the same as "
        "INTERNAL_KEY in its settings.",
    )

    feed_key: SecretKey | None = Field(
        default=None,
        title="Events (docs/events.md)",
        description="The key with which readers of the feed authenticate at the internal port: 64 other hex digits, "
        "the same as FEED_KEY in the settings of content and of each service that follows auth. Not set: the feed "
        "cannot be read, and they do not learn which sessions have ended.",
    )
    feed_previous_keys: SecretKeys = Field(
        default=(),
        description="Former values of FEED_KEY, separated by commas, that readers may still send while it is replaced.",
    )
    # DATABASE_URL may lead through a pooler in transaction mode, which passes no notifications on.
    listen_database_url: DatabaseUrl | None = Field(
        default=None,
        description="A direct address of the database, without a pooler, on which this service listens for "
        "notifications of new events. Not set: it only polls, five times a second.",
        examples=["postgresql://{part}:<password>@127.0.0.1:5432/{part}"],
    )
    # Except those that are to be known for ever.
    events_keep_days: float = Field(default=30, ge=1, le=3650, description="Events are deleted after this many days.")

    registration: Literal["open", "closed"] = Field(
        default="open", title="Registration", description="closed: only admins create accounts."
    )
    registration_tells_username: bool = Field(
        default=True, description="Whether registration discloses that a username is taken."
    )
    registration_tells_email: bool | None = Field(
        default=None,
        description="Whether it discloses that an e-mail address is taken. Not set: it does, and an address signs in "
        "at once, unless MAIL_URL is a mail server and APP_ENV is staging or production (docs/adr/0028).",
        examples=["false"],
    )

    public_url: Annotated[str, AfterValidator(_check_public_url)] = Field(
        default="http://127.0.0.1:8000",
        title="Mails",
        description="The public address of the gateway. Links in mails always begin with it.",
    )
    mail_url: Annotated[SecretStr, AfterValidator(_check_mail_url)] | None = Field(
        default=None,
        description="How mails are sent. smtp://user:password@host:587 requires STARTTLS, "
        "smtps://user:password@host:465 uses TLS from the start, and file:///folder writes files. Services: "
        "ses://eu-west-1, sendgrid://:key@api.sendgrid.com, mailgun://:key@api.mailgun.net/mg.example.com "
        "(docs/kit/mail.md). Special characters in a password or key are percent-encoded. Without credentials, "
        "smtp://localhost is not encrypted, nor is smtp://host:25?starttls=never for a private network. Not set: no "
        "mail is sent, and requests that need one are refused.",
        examples=["smtp://user:<password>@mail.example.com:587"],
    )
    mail_from: Annotated[str, Field(max_length=320), AfterValidator(_check_mail_from)] = Field(
        default=f"{PRODUCT} <no-reply@localhost>", description="The sender of all mails."
    )
    mail_worker: bool = Field(
        default=True, description="false: this replica adds mails to the outbox, and other replicas send them."
    )

    events_nats_url: Annotated[SecretStr, AfterValidator(_check_nats_url)] | None = Field(
        default=None,
        title="Events for other teams: NATS (docs/nats.md)",
        description="NATS servers with JetStream: nats://user:password@host:4222, nats://token@host:4222 or "
        "tls://..., several separated by commas. Special characters in a password are percent-encoded. Not set: "
        "no events are sent to NATS.",
        examples=["tls://user:<password>@nats.example.com:4222"],
    )
    events_nats_credentials: Annotated[SecretStr, AfterValidator(_check_nats_credentials)] | None = Field(
        default=None,
        description="Instead of a password or a token: the text of a credentials file, as the tools of NATS write it. "
        "Usually EVENTS_NATS_CREDENTIALS_FILE names that file.",
    )
    events_nats_stream: Annotated[str, AfterValidator(check_stream)] = Field(
        default="KPI_EVENTS", description="The stream, which is created if it is missing."
    )
    events_nats_subject: Annotated[str, AfterValidator(check_subject)] = Field(
        default="kpi.events", description="The first words of each subject; the type of the event follows."
    )

    webhook_limit: int = Field(
        default=50,
        ge=1,
        le=1000,
        title="Events for other systems: webhooks (docs/webhooks.md)",
        description="How many webhooks there may be.",
    )
    webhook_worker: bool = Field(default=True, description="false: only other replicas send events to them.")
    webhook_allowed_networks: Networks = Field(
        default=(),
        description="Events are sent to public addresses, and to those of these networks, separated by commas.",
        examples=["10.1.0.0/16"],
    )
    webhook_allow_http: bool | None = Field(
        default=None,
        description="Whether events are sent to http:// URLs. Not set: they are, except with APP_ENV=production.",
        examples=["false"],
    )

    identity_providers: IdentityProviders = Field(
        default=(),
        title="Identity providers (docs/adr/0013-outside-identities.md)",
        description="Those whose tokens are accepted for sign-in, as a JSON list.",
        examples=['[{"preset": "supabase", "project_url": "https://<ref>.supabase.co"}]'],
    )
    supabase_url: ProjectUrl | None = Field(
        default=None,
        description="A shorthand for an entry of IDENTITY_PROVIDERS with the preset supabase.",
        examples=["https://<ref>.supabase.co"],
    )
    supabase_jwt_secret: JwtSecret | None = Field(
        default=None, description="For projects that still sign with the older shared secret."
    )

    audit_keep_days: float | None = Field(
        default=None,
        ge=1,
        le=36_500,
        title="Audit trail (docs/audit.md)",
        description="Audit records are deleted after this many days. Not set: they are kept for ever.",
        examples=["365"],
    )

    trusted_proxies: Networks = Field(
        default=("127.0.0.0/8", "::1/128"),
        title="Client addresses",
        description="Networks of the proxies whose X-Forwarded-For is trusted, separated by commas.",
    )

    # OWASP's first recommendation (Password Storage Cheat Sheet).
    argon2_memory_kib: int = Field(
        default=19456,
        ge=8,
        le=4 * 1024 * 1024,
        title="Passwords: argon2id (OWASP Password Storage Cheat Sheet)",
        description="Memory of one hash in KiB. A sign-in replaces a hash with other parameters.",
    )
    argon2_time_cost: int = Field(default=2, ge=1, le=100, description="Passes over that memory.")
    argon2_parallelism: int = Field(default=1, ge=1, le=64, description="Lanes of one hash.")
    hash_workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=256,
        description="How many passwords are hashed at once. Not set: one per core.",
        examples=["2"],
    )
    hash_queue: int = Field(
        default=64,
        ge=0,
        le=10_000,
        description="How many passwords may wait to be hashed; beyond that the response is 503.",
    )
    hash_patience: float = Field(
        default=1.5,
        gt=0,
        le=60,
        description="How long a password may wait to be hashed, in seconds, before the response is 503.",
    )

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
            raise ValueError("INTERNAL_PORT: set INTERNAL_KEY too, the key with which the gateway authenticates there")
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
