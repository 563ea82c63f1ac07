"""The settings of all libraries of the kit, as one model."""

from pydantic import BaseModel, Field, SecretStr


class KitSettings(BaseModel):
    """A service inherits from it beside its own settings. A library whose URL is not set is not opened."""

    http_url: str = Field(default="", description="The service that is called: https://api.example.com")
    mail_url: SecretStr | None = Field(
        default=None,
        description="How mails are sent: smtp://user:password@host:587, ses://region, sendgrid://, mailgun://, file:///",
    )
    cache_url: SecretStr = Field(
        default=SecretStr("memory://"), description="The cache: memory://, disk:///folder or redis://host:6379/0"
    )
    cache_stores: dict[str, SecretStr] = Field(
        default_factory=dict, description="More caches by name, each with a URL as CACHE_URL"
    )
    storage_url: SecretStr | None = Field(
        default=None, description="The files: file:///folder, s3://bucket/prefix or memory://"
    )
    storage_disks: dict[str, SecretStr] = Field(
        default_factory=dict, description="More disks by name, each with a URL as STORAGE_URL"
    )
    queue_url: SecretStr | None = Field(
        default=None, description="The jobs: postgresql://user:password@host/database, memory:// or sync://"
    )
    events_url: SecretStr = Field(
        default=SecretStr("memory://"), description="The events: memory://, postgresql://... or nats://host:4222"
    )
    notify_urls: dict[str, SecretStr] = Field(
        default_factory=dict, description="The channels of notifications by name, each with a URL: slack, sms, webhook"
    )
    hashing_url: str = Field(
        default="argon2id://", description="How passwords are hashed: argon2id://?time_cost=3&memory_kib=65536"
    )
    crypt_keys: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="The keys of encryption by id, each of 32 bytes in base64; the first one encrypts, all decrypt",
    )
