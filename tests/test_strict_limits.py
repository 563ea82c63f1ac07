"""Every route that takes something that could be guessed has a strict limit at the gateway, documented or not."""

from fastapi.routing import APIRoute, iter_route_contexts
from kpi_auth.app import create_app
from kpi_auth.settings import AuthSettings
from kpi_gateway.routes import RouteTable
from kpi_gateway.settings import GatewaySettings
from kpi_shared.testing.fields import text_fields

# Passwords, codes of mails and of the log, tokens of identity providers, API keys. Refresh tokens are too long for it.
GUESSABLE = {"password", "current_password", "code", "subject_token", "key"}


def find_guessable() -> set[str]:
    """The operations of auth with such a field, those included that the API document leaves out."""
    app = create_app(AuthSettings.model_construct())
    document = app.openapi()
    for route in (context.route for context in iter_route_contexts(app.routes)):
        if isinstance(route, APIRoute) and not route.include_in_schema:
            hidden = {method.lower(): route.openapi_extra or {} for method in route.methods or ()}
            document["paths"].setdefault(route.path, {}).update(hidden)
    return {field.operation for field in text_fields(document) if field.name in GUESSABLE}


def test_what_can_be_guessed_has_a_strict_limit() -> None:
    table = RouteTable.of(GatewaySettings())
    found = find_guessable()
    assert {"POST /auth/login", "POST /auth/login/json", "POST /auth/exchange", "DELETE /users/{user_id}"} <= found
    matches = {name: table.match(name.partition(" ")[2].encode(), name.partition(" ")[0]) for name in found}
    assert [name for name, match in matches.items() if match is None or match.limit is None] == []
