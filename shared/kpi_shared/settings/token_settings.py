"""The settings of the keys of access tokens."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from kpi_shared.findings import create_finding
from kpi_shared.key_ring import BadRingError, KeyRing, Purpose, parse_ring, require_active
from kpi_shared.keys import parse_key
from kpi_shared.settings.part_settings import PartSettings
from kpi_shared.settings.sources import Environment, SettingsError
from kpi_shared.settings.types import SecretKey, SecretKeys, check_secret_key, write_json

_FOR_OTHERS = 0o007


class _TokenBaseSettings(PartSettings):
    """The settings of tokens except the current key."""

    # Whether this part mints tokens: with the purpose public it alone has secret keys.
    mints_tokens: ClassVar[bool] = False

    token_purpose: Purpose = Field(
        default=Purpose.LOCAL,
        title="Keys of the access tokens (docs/keys.md): a key ring, or one key",
        description="local: all parts share each key. public: only auth has secret keys, which needs a key ring.",
    )
    # It takes the place of PASETO_SECRET_KEY (docs/adr/0043-key-ring.md).
    paseto_keys_file: Path | None = Field(
        default=None,
        description="The key ring, a JSON file that is read again whenever it changes, so that keys are replaced "
        "while everything runs: .venv/bin/kpi keys rotate",
        examples=["/run/kpi/{ring_file}"],
    )
    paseto_keys: Annotated[SecretStr, BeforeValidator(write_json)] | None = Field(
        default=None, description="The text of the key ring, as an AWS secret contains it; usually not set elsewhere."
    )
    # After the ring, which decides whether it is required. The classes below say how.
    paseto_secret_key: SecretStr | None
    paseto_previous_keys: SecretKeys = Field(
        default=(),
        description="Keys for which no new tokens are issued, but whose tokens are still accepted; separated by "
        "commas.",
    )
    token_issuer: str = Field(default="kpi-one", description="The claim iss of every token, the same in all parts.")
    token_audience: str = Field(default="kpi-one", description="The claim aud of every token, the same in all parts.")
    aws_secrets_refresh: float = Field(
        default=30,
        ge=1,
        le=86_400,
        title="AWS Secrets Manager",
        description="Seconds between two readings of the secret for its PASETO_KEYS.",
    )

    @property
    def ring_file(self) -> Path | None:
        """The file of the key ring; None if the ring comes from elsewhere."""
        return self.paseto_keys_file if not self.has_ring_in_aws else None

    @property
    def has_ring_in_aws(self) -> bool:
        return self.aws_secrets_enabled and self.paseto_keys is not None

    @property
    def has_ring(self) -> bool:
        """Whether the keys of the tokens are a ring with states, in place of PASETO_SECRET_KEY."""
        return self.paseto_keys_file is not None or self.paseto_keys is not None

    @property
    def findings(self) -> list[dict[str, object]]:
        if self.ring_file is None:
            return super().findings
        is_private = not self.ring_file.stat().st_mode & _FOR_OTHERS
        is_required = self.app_env is Environment.PRODUCTION
        detail = (
            "read by its owner and group alone" if is_private else f"everyone on this machine may read {self.ring_file}"
        )
        fix = f"chmod o-rwx {self.ring_file}"
        unused = f"; {self.use_of_former_keys}" if self.paseto_secret_key else ""
        return [
            *super().findings,
            create_finding("key ring", ok=is_private or not is_required, detail=f"{detail}{unused}", fix=fix),
        ]

    @property
    def use_of_former_keys(self) -> str:
        """What PASETO_SECRET_KEY is for beside a key ring."""
        if not self.mints_tokens:
            return "PASETO_SECRET_KEY is set and not used"
        return "PASETO_SECRET_KEY is for sessions and API keys of before AUTH_SECRET_KEY only"

    def read_ring(self) -> KeyRing:
        """The key ring; SettingsError if it cannot be used, also because its last key was killed."""
        try:
            if self.ring_file is not None:
                return require_active(self.parse_ring(self.ring_file.read_bytes()))
            if self.paseto_keys is not None:
                return require_active(self.parse_ring(self.paseto_keys.get_secret_value()))
        except OSError as error:
            raise SettingsError(f"PASETO_KEYS_FILE: {self.ring_file}: {error.strerror}") from None
        except BadRingError as error:
            source = f"_FILE: {self.ring_file}" if self.ring_file is not None else ""
            raise SettingsError(f"PASETO_KEYS{source}: {error}") from None
        return self._local_ring()

    def parse_ring(self, text: str | bytes) -> KeyRing:
        """The ring of this part in such a text; BadRingError if it cannot be used."""
        return parse_ring(text, purpose=self.token_purpose, mints=self.mints_tokens)

    def _local_ring(self) -> KeyRing:
        current = self.paseto_secret_key
        if not current:
            raise SettingsError("PASETO_SECRET_KEY: is required and not set")
        previous = [parse_key(key.get_secret_value()) for key in self.paseto_previous_keys]
        return KeyRing.local(parse_key(current.get_secret_value()), previous)

    @model_validator(mode="after")
    def _check_ring(self) -> Self:
        if self.has_ring:
            try:
                self.read_ring()
            except SettingsError as error:
                raise ValueError(str(error)) from None
        elif self.token_purpose is Purpose.PUBLIC:
            raise ValueError("TOKEN_PURPOSE: public needs a key ring, PASETO_KEYS_FILE")
        return self


def _check_presence(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """The key is required where no key ring is given."""
    has_ring = any(info.data.get(name) is not None for name in ("paseto_keys_file", "paseto_keys"))
    if not value and not has_ring:
        raise PydanticCustomError("missing", "Field required")
    return check_secret_key(value) if value else value


class TokenSettings(_TokenBaseSettings):
    """For a service, which requires the keys of the tokens."""

    paseto_secret_key: Annotated[SecretStr, AfterValidator(_check_presence)] = Field(
        SecretStr(""),
        validate_default=True,
        description="Required without a key ring. One key, 64 hex digits, the same in all parts. To generate a key: "
        ".venv/bin/kpi keys new",
        examples=[""],
    )


class OptionalTokenSettings(_TokenBaseSettings):
    """For a part that opens tokens only if it has the keys."""

    paseto_secret_key: SecretKey | None = Field(
        default=None,
        description="One key, 64 hex digits, the same as of the services, if they have no key ring. Without any keys, "
        "requests are limited by client address only, and not by the account of their token.",
    )

    @property
    def has_token_keys(self) -> bool:
        return self.paseto_secret_key is not None or self.has_ring
