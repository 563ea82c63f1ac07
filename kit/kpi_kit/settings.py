"""The settings of all libraries of the kit, as one model."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

# A setting that has no effect without another one.
_NEEDED = {
    "mail_drivers": "mail_url",
    "mail_from": "mail_url",
    "mail_templates": "mail_url",
    "cache_stores": "cache_url",
    "crypt_fernet_keys": "crypt_keys",
    "crypt_cbc_keys": "crypt_keys",
}


class KitSettings(BaseModel):
    """A service inherits from it beside its own settings. A library whose setting is empty is not opened.

    What a URL may be is in docs/kit/<library>.md, and printed by `kpi libs <library>`.
    """

    # Libraries that use the service's own database (DATABASE_URL) if their own URL is not set.
    in_own_database: ClassVar[tuple[Literal["queue", "events"], ...]] = ()

    http_url: SecretStr | None = Field(
        default=None,
        title="Libraries of the kit (docs/kit.md)",
        description="The service that is called, with the path that all calls begin with.",
        examples=["https://api.example.com/v1"],
    )
    mail_url: SecretStr | None = Field(
        default=None,
        description="How mails are sent: smtp://, ses://, sendgrid://, mailgun:// or file://. Special characters in a "
        "password are percent-encoded.",
        examples=["smtp://user:<password>@mail.example.com:587"],
    )
    mail_drivers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Further ways to send mails by name, as a JSON object, each with a URL as in MAIL_URL.",
        examples=['{"bulk": "ses://eu-central-1"}'],
    )
    mail_from: str | None = Field(
        default=None,
        description="The sender of mails that name none.",
        examples=["KPI-One <no-reply@example.com>"],
    )
    mail_templates: str | None = Field(
        default=None,
        description="The templates of mails: a folder, or a package with a folder of the name templates.",
        examples=["kpi_{part}"],
    )
    cache_url: SecretStr | None = Field(
        default=None,
        description="The cache: memory:// (each process has its own), disk:///folder or redis://host:6379/0.",
        examples=["redis://127.0.0.1:6379/0"],
    )
    cache_stores: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Further caches by name, as a JSON object, each with a URL as in CACHE_URL.",
        examples=['{"sessions": "redis://127.0.0.1:6379/1"}'],
    )
    storage_url: SecretStr | None = Field(
        default=None,
        description="Where files are stored: file:///folder, s3://bucket/prefix or memory://.",
        examples=["file:///var/lib/kpi/storage"],
    )
    storage_disks: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Further places for files by name, as a JSON object, each with a URL as in STORAGE_URL.",
        examples=['{"invoices": "s3://invoices/2026"}'],
    )
    queue_url: SecretStr | None = Field(
        default=None,
        description="Where jobs wait: postgresql:// (the database of the service), memory:// or sync://. Not set: in "
        "DATABASE_URL where the service says so in its settings, else there is no queue.",
        examples=["postgresql://{part}:<password>@127.0.0.1:5432/{part}"],
    )
    events_url: SecretStr | None = Field(
        default=None,
        description="Where events are sent: memory:// (within a process), postgresql:// or nats://. Not set: as for "
        "QUEUE_URL.",
        examples=["nats://127.0.0.1:4222"],
    )
    notify_urls: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="The channels of notifications by name, as a JSON object, each with a URL.",
        examples=['{"slack": "slack://hooks.slack.com/services/T000/B000/<token>"}'],
    )
    hashing_url: str | None = Field(
        default=None,
        description="How passwords are hashed, and how many at once.",
        examples=["argon2id://?time_cost=3&memory_kib=65536"],
    )
    crypt_keys: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="The keys of encryption by id, as a JSON object, each of 32 bytes in base64: the first one "
        "encrypts, all decrypt.",
        examples=['{"2026": "<32 bytes in base64>"}'],
    )
    crypt_fernet_keys: list[SecretStr] = Field(
        default_factory=list,
        description="Keys of Fernet tokens that Fastpy's Crypt wrote, as a JSON list, to read them beside new values.",
        examples=['["<32 bytes in base64>"]'],
    )
    crypt_cbc_keys: list[SecretStr] = Field(
        default_factory=list,
        description="Keys of AES-CBC values that Laravel, or Fastpy's Crypt.driver('aes'), wrote, as a JSON list, to "
        "read them beside new values.",
        examples=['["base64:<32 bytes in base64>"]'],
    )

    @model_validator(mode="before")
    @classmethod
    def _use_own_database(cls, values: Any) -> Any:  # noqa: ANN401 what is not validated yet may be anything
        if not isinstance(values, Mapping) or "database_url" not in values:
            return values
        return {f"{library}_url": values["database_url"] for library in cls.in_own_database} | dict(values)

    @model_validator(mode="after")
    def _require_what_is_needed(self) -> Self:
        for name, needed in _NEEDED.items():
            # A default of the service's own class is used as soon as it can be.
            if name in self.model_fields_set and getattr(self, name) and not getattr(self, needed):
                raise ValueError(f"{name.upper()}: it has no effect without {needed.upper()}; set that too")
        return self
