"""What auth adds to the destinations of the kit: its settings, and what admins read."""

import pytest
from destination_support import FixedResolver
from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks.destinations import build_destinations, describe, get_receiver
from kpi_kit.destinations import DestinationError, RefusedDestinationError
from kpi_shared.settings import Environment

PUBLIC = FixedResolver(["93.184.215.14"])


@pytest.mark.parametrize(
    ("environment", "setting", "is_allowed"),
    [
        ("production", None, False),
        ("production", True, True),
        ("development", None, True),
        ("development", False, False),
    ],
)
async def test_production_requires_tls_unless_a_setting_says_otherwise(
    settings: AuthSettings, environment: str, setting: bool | None, is_allowed: bool
) -> None:
    changes = {"app_env": Environment(environment), "webhook_allow_http": setting}
    chosen = build_destinations(settings.model_copy(update=changes), PUBLIC)
    assert (await chosen.find("https://hooks.example.com:8443/x", seconds=5)).url.port == 8443
    if is_allowed:
        assert await chosen.find("http://hooks.example.com/x", seconds=5)
    else:
        with pytest.raises(RefusedDestinationError, match="must begin with https"):
            await chosen.find("http://hooks.example.com/x", seconds=5)


def test_the_receiver_of_a_url_is_its_scheme_host_and_port() -> None:
    assert get_receiver("https://hooks.example.com/services/T0/secret?key=secret") == "https://hooks.example.com"
    assert get_receiver("https://xn--0:8443/secret") == "https://xn--0:8443"
    assert get_receiver("http://[2606:4700::1]:80/secret") == "http://[2606:4700::1]"


@pytest.mark.parametrize("address", ["10.1.2.3", "10.2.0.1"])
async def test_a_setting_allows_networks_that_are_not_public(settings: AuthSettings, address: str) -> None:
    changes = {"webhook_allowed_networks": ("10.1.0.0/16", "fd00::/8")}
    chosen = build_destinations(settings.model_copy(update=changes), FixedResolver([address]))
    if address.startswith("10.1."):
        assert (await chosen.find("https://hooks.example.com/x", seconds=5)).addresses
    else:
        with pytest.raises(RefusedDestinationError, match="not public"):
            await chosen.find("https://hooks.example.com/x", seconds=5)


def test_a_reason_is_a_short_sentence_that_can_be_shown() -> None:
    assert describe(DestinationError("no response within 10 seconds")) == "No response within 10 seconds"
    assert (
        describe(DestinationError("the host cannot be", "the host x\r\ny\x1b cannot be")) == "The host x  y  cannot be"
    )
    assert len(describe(DestinationError("x" * 1000))) == 300
