"""``python -m kpi_gateway routes``: the operations of the services, with the limits of these settings."""

import json
from typing import Any

import pytest
from kpi_gateway.routes import RouteTable
from kpi_gateway.settings import GatewaySettings
from kpi_shared.testing.process import run_command

INFO = {"title": "a service", "version": "1"}
DOCUMENTS: dict[str, Any] = {
    **{name: {"info": INFO, "paths": {}} for name in RouteTable.of(GatewaySettings()).upstreams},
    "auth": {
        "info": INFO,
        "paths": {"/auth/login": {"post": {"operationId": "login", "x-access": "public", "responses": {}}}},
    },
    "content": {
        "info": INFO,
        "paths": {
            "/posts": {
                "parameters": [],
                "get": {"operationId": "list_posts", "x-access": "public", "responses": {}},
                # Of a service that is not ours, and does not say who may call it.
                "post": {"operationId": "create_post", "responses": {}},
            },
            # No route leads there.
            "/internal": {"get": {"operationId": "hidden", "responses": {}}},
        },
    },
}
ADDRESS = {"policy": "address", "requests": 1000, "window": 60}
LOGIN = {"policy": "login", "requests": 20, "window": 60}


def list_routes(**settings: str) -> dict[str, dict[str, Any]]:
    printed = json.loads(run_command("kpi_gateway", "routes", settings=settings, given=json.dumps(DOCUMENTS)))
    return {f"{route['method']} {route['path']}": route for route in printed["routes"]}


def test_each_operation_has_its_service_its_access_and_its_limits() -> None:
    routes = list_routes()
    assert routes["POST /api/v1/auth/login"] == {
        "method": "POST",
        "path": "/api/v1/auth/login",
        "service": "auth",
        "operation_id": "login",
        "access": "public",
        "limits": [ADDRESS, LOGIN],
    }
    assert routes["GET /api/v1/posts"]["limits"] == [ADDRESS]
    assert routes["POST /api/v1/posts"]["access"] is None
    assert (routes["GET /health"]["service"], routes["GET /health"]["access"]) == ("gateway", "public")
    assert routes["GET /health"]["limits"] == []
    assert routes["GET /"]["limits"] == [ADDRESS]
    assert "GET /api/v1/internal" not in routes


def test_the_limits_are_those_of_the_settings(secret_key: str) -> None:
    policies = json.dumps({"login": {"requests": 3, "window": 10}})
    routes = list_routes(RATE_LIMIT_POLICIES=policies, RATE_LIMIT_REQUESTS="7", PASETO_SECRET_KEY=secret_key)
    general = [{"policy": name, "requests": 7, "window": 60} for name in ("address", "subject")]
    assert routes["POST /api/v1/auth/login"]["limits"] == [*general, {"policy": "login", "requests": 3, "window": 10}]
    assert {str(route["limits"]) for route in list_routes(RATE_LIMIT_ENABLED="false").values()} == {"[]"}


def test_documents_that_are_missing_are_named() -> None:
    with pytest.raises(AssertionError, match="kpi-gateway: no document for auth"):
        run_command("kpi_gateway", "routes", settings={}, given="{}")
