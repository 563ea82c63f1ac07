"""What auth gives for an API key: a token, and what the gateway enforces for the key."""

from typing import NamedTuple, Self

from kpi_shared.addresses import Network, parse_address, parse_networks
from pydantic import BaseModel, ConfigDict, Field

from kpi_gateway.setting_types import PolicySetting

# A key is refused everywhere 5 s after its end (docs/api-keys.md); the rest is for what is on its way.
MAX_SECONDS = 4.5


class ExchangedKey(BaseModel):
    """Auth's response, as far as it is used."""

    model_config = ConfigDict(hide_input_in_errors=True)

    access_token: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    expires_in: int = Field(ge=1)
    key_id: int = Field(ge=1)
    allowed_networks: tuple[str, ...]
    rate_limit: PolicySetting | None


class Grant(NamedTuple):
    """``until`` is on the monotonic clock, and so is ``renewable_from``: when a refused token may be replaced."""

    key_id: int
    authorization: bytes
    networks: tuple[Network, ...]
    limit: PolicySetting | None
    until: float
    renewable_from: float = 0.0

    @classmethod
    def of(cls, exchanged: ExchangedKey, began: float) -> Self:
        """``began`` is when auth was asked: the key may have ended right after auth had looked it up."""
        return cls(
            exchanged.key_id,
            b"Bearer " + exchanged.access_token.encode(),
            parse_networks(exchanged.allowed_networks),
            exchanged.rate_limit,
            began + min(MAX_SECONDS, exchanged.expires_in),
        )

    @property
    def client(self) -> str:
        """As rate limits know it: an account's own is its number."""
        return f"key-{self.key_id}"

    def allows(self, address: str) -> bool:
        """Whether the key may be used from this address."""
        if not self.networks:
            return True
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self.networks)
