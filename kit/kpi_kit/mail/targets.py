"""Where mails go, as the drivers take it."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Security(Enum):
    PLAIN = "plain"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True)
class Folder:
    """Mails are written as files."""

    path: Path


@dataclass(frozen=True)
class SmtpServer:
    """Credentials are only set where the connection is encrypted before they are sent."""

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SesAccount:
    """Without a key, boto3 finds the credentials: of the environment, of a profile, or of the machine's role."""

    region: str
    key_id: str | None = None
    key: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    configuration_set: str | None = None


@dataclass(frozen=True)
class ApiAccount:
    """An account of a mail service with an HTTP API; ``domain`` is the one that sends, if the service needs it."""

    base_url: str
    key: str = field(repr=False)
    domain: str = ""


@dataclass(frozen=True)
class Memory:
    """Mails are kept in the process."""


Target = Folder | SmtpServer | SesAccount | ApiAccount | Memory
