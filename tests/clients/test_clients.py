"""Clients that other projects' generators make from the gateway's document, used without modification."""

import httpx
import pytest
from clients.conftest import Client
from clients.tools import HERE, Language, reason_to_skip, run
from stack import PASSWORD, Stack, join

pytestmark = pytest.mark.clients


def test_generator_reports_no_warnings(generated_client: Client) -> None:
    generated_client.generated.require_success()
    assert generated_client.generator.warnings(generated_client.generated.output) == []


def test_generated_client_compiles(generated_client: Client) -> None:
    for result in generated_client.checked:
        result.require_success()


def test_generated_client_completes_the_flow(generated_client: Client, stack: Stack) -> None:
    generated_client.generator.run_flow(generated_client.folder, stack.gateway).require_success()


@pytest.mark.parametrize("flow", ["with_requests_oauthlib.py", "with_authlib.py"])
def test_oauth2_library_signs_in_and_refreshes(flow: str, stack: Stack) -> None:
    if reason := reason_to_skip(Language.PYTHON):
        pytest.skip(reason)
    with httpx.Client(base_url=stack.gateway, timeout=30) as client:
        person = join(client)
    # Without this oauthlib refuses plain HTTP.
    environment = {"OAUTHLIB_INSECURE_TRANSPORT": "1"}
    folder = HERE / "python"
    run(
        *("python", "-W", "error", flow, stack.gateway, person.username, PASSWORD),
        folder=folder,
        environment=environment,
    ).require_success()
