"""Which header fields of a request are credentials, and what a service sees of them."""

import httpx
import pytest
from credential_support import Setup, header, keyed_gateway, make_key
from gateway_support import Echo, headers_of

pytestmark = pytest.mark.anyio


SPELLINGS = (
    "X-API-Key",
    "x_api_key",
    "X-Api_Key",
    "x.api.key",
    "Octopus-API-Key",
    "octopus_api_key",
    "OCTOPUS-API_KEY",
)


@pytest.mark.parametrize("name", SPELLINGS)
async def test_no_service_sees_a_key_in_any_spelling(setup: Setup, name: str) -> None:
    key = make_key()
    response = await setup.client.get("/posts", headers={name: key})
    assert response.status_code == 200
    assert key not in str(setup.echo.seen)


@pytest.mark.parametrize("fields", [{"X-API-Key": "{}"}, {"Octopus-API-Key": "{}"}, {"Authorization": "bearer  {}"}])
async def test_the_service_gets_a_token_in_place_of_the_key(setup: Setup, fields: dict[str, str]) -> None:
    key = make_key()
    sent = {name: value.format(key) for name, value in fields.items()}
    response = await setup.client.post("/posts?a=1", headers=sent, content=b"body")
    assert response.status_code == 200
    seen = headers_of(setup.echo.seen[0])
    assert seen["authorization"] == "Bearer v4.local.1"
    assert "X-API-Key, Octopus-API-Key" in response.headers["vary"]
    assert setup.echo.seen[0]["body"] == "body"
    assert key not in str(setup.echo.seen)
    assert setup.auth.exchanged == [key]


@pytest.mark.parametrize("scheme", ["Bearer ", "Basic ", "ApiKey ", ""])
async def test_without_an_internal_port_keys_are_refused(address: str, echo: Echo, scheme: str) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        for sent in (header(make_key()), {"Authorization": f"{scheme}{make_key()}"}):
            response = await client.get("/posts", headers=sent)
            assert (response.status_code, response.json()["type"]) == (401, "api-keys-not-accepted")
    assert echo.seen == []


async def test_a_token_passes_as_before(setup: Setup) -> None:
    await setup.client.get("/posts", headers={"Authorization": "Bearer v4.local.x"})
    assert headers_of(setup.echo.seen[0])["authorization"] == "Bearer v4.local.x"
    assert setup.auth.exchanged == []


@pytest.mark.parametrize(
    "form", ["{}", "Bearer x {}", 'Bearer "{}"', "Bearer ,{}", "Bearer v4.local.x {}", "Bearer v4.local.{}", "Basic {}"]
)
async def test_a_key_elsewhere_in_authorization_is_refused(setup: Setup, form: str) -> None:
    response = await setup.client.get("/posts", headers={"Authorization": form.format(make_key())})
    assert (response.status_code, response.json()["type"]) == (401, "invalid-api-key")
    assert (setup.echo.seen, setup.auth.exchanged) == ([], [])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_token_may_contain_the_prefix_by_chance(setup: Setup, scheme: str) -> None:
    value = f"{scheme} v4.local.abckpi_test_def"
    await setup.client.get("/posts", headers={"Authorization": value})
    assert headers_of(setup.echo.seen[0])["authorization"] == value


async def test_a_key_is_no_request_id(setup: Setup) -> None:
    response = await setup.client.get("/posts", headers={"X-Request-ID": make_key()})
    assert "kpi_" not in response.headers["x-request-id"]
    assert "kpi_" not in str(setup.echo.seen)


async def test_two_credentials_are_refused(setup: Setup) -> None:
    for fields in (
        {"X-API-Key": make_key(1), "Octopus-API-Key": make_key(2)},
        {"X-API-Key": make_key(1), "Authorization": "Bearer v4.local.x"},
        {"X-API-Key": make_key(1), "Authorization": "Basic YTpi"},
        [("Authorization", f"Bearer {make_key(1)}"), ("Authorization", "Bearer v4.local.x")],
        [("X-API-Key", make_key(1)), ("X-API-Key", make_key(2))],
    ):
        response = await setup.client.get("/posts", headers=fields)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["type"]) == (400, "several-credentials")
    assert setup.auth.exchanged == []


async def test_pages_of_the_gateway_refuse_a_wrong_key_and_health_checks_ignore_it(setup: Setup) -> None:
    assert (await setup.client.get("/", headers=header("wrong"))).status_code == 401
    assert (await setup.client.get("/health/live", headers=header("wrong"))).status_code == 200


async def test_browsers_may_send_keys_from_allowed_origins() -> None:
    async with keyed_gateway(cors_origins=("https://app.example.com",)) as setup:
        asked = {
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "x-api-key, octopus-api-key",
        }
        response = await setup.client.options("/posts", headers=asked)
    assert response.status_code == 200
    allowed = {name.strip() for name in response.headers["access-control-allow-headers"].lower().split(",")}
    assert {"x-api-key", "octopus-api-key"} <= allowed
