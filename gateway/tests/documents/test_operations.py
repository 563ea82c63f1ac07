"""The merged document of the real services: what every operation in it has, whichever part describes it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kpi_gateway.app import create_pages
from kpi_gateway.documents.merging import ServiceDocument, merge
from kpi_gateway.downstream import SlowUploadError
from kpi_gateway.origins import EXPOSED_HEADERS
from kpi_gateway.routes import RouteTable
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream.streams import StreamsBusyError
from kpi_shared.testing.rights import public_by_table, read_rights

Json = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")
# Fetch, 2.2.6: scripts may read these without exposure.
SAFELISTED = {"Cache-Control", "Content-Language", "Content-Length", "Content-Type", "Expires", "Last-Modified"}
LIMITS = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"}


def describe(package: str) -> ServiceDocument:
    done = subprocess.run(
        [sys.executable, "-m", package, "openapi"], capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    return ServiceDocument.model_validate_json(done.stdout)


@pytest.fixture(scope="module")
def whole() -> Json:
    settings = GatewaySettings()
    table = RouteTable.of(settings)
    documents = {name: describe(f"kpi_{name}") for name in table.upstreams}
    # As clients read it.
    merged: Json = json.loads(json.dumps(merge(create_pages(settings, table).openapi(), table, documents)))
    return merged


# Their clients read the code of RFC 6749 in every refusal, so auth documents its own errors.
OAUTH = {f"POST /api/v1/auth/{name}" for name in ("login", "refresh", "revoke", "exchange")}


def operations(whole: Json) -> Iterator[tuple[str, Json]]:
    for path, item in whole["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def resolve(whole: Json, node: Json) -> Json:
    for key in node.get("$ref", "#").split("/")[1:]:
        whole = whole[key]
    return whole if "$ref" in node else node


def test_no_two_schemas_have_one_title(whole: Json) -> None:
    titles = Counter(schema.get("title") for schema in whole["components"]["schemas"].values())
    assert [title for title, count in titles.items() if title and count > 1] == []


def test_every_tag_is_described_and_those_of_services_come_first(whole: Json) -> None:
    described = [tag["name"] for tag in whole["tags"] if tag["description"]]
    used = {tag for _, operation in operations(whole) for tag in operation["tags"]}
    assert set(described) == used
    assert described[-2:] == ["gateway", "health"]
    assert len(described) == len(set(described))


# Operations that work without a token, and do more with one; further ones are public by the table of rights.
OPTIONAL = {
    "POST /api/v1/users",
    "POST /api/v1/api-keys/self/revoke",
    "GET /api/v1/posts",
    "GET /api/v1/posts/{post_id}",
}


def test_operations_with_an_optional_token_work_without(whole: Json) -> None:
    assert list(whole["components"]["securitySchemes"]) == ["password", "apiKey"]
    found: dict[str, set[str]] = {}
    for name, operation in operations(whole):
        found.setdefault(json.dumps(operation["security"]), set()).add(name)
    # Some are for people only.
    optional = '[{}, {"password": []}, {"apiKey": []}]'
    assert found.keys() == {"[]", optional, '[{"password": []}, {"apiKey": []}]', '[{"password": []}]'}
    assert found[optional] >= OPTIONAL
    names = {name.replace("/api/v1", "", 1) for name in found["[]"] | found[optional]}
    assert names == public_by_table(read_rights().keys())


def test_the_header_fields_of_services_are_described(whole: Json) -> None:
    for name, operation in operations(whole):
        responses = operation["responses"]
        for status, header in (("401", "WWW-Authenticate"), ("201", "Location"), ("304", "ETag"), ("412", "ETag")):
            assert header in responses.get(status, {"headers": [header]})["headers"], (name, status)
    assert "ETag" in whole["paths"]["/api/v1/posts/{post_id}"]["put"]["responses"]["200"]["headers"]


def test_every_operation_says_whether_it_needs_a_token(whole: Json) -> None:
    assert [name for name, operation in operations(whole) if "security" not in operation] == []


def test_every_response_has_the_id_of_its_request(whole: Json) -> None:
    for name, operation in operations(whole):
        for status, response in operation["responses"].items():
            assert {"X-Request-ID", "X-Response-Time"} <= response["headers"].keys(), (name, status)


def test_every_forwarded_operation_documents_the_errors_of_the_gateway(whole: Json) -> None:
    for name, operation in operations(whole):
        if "/api/v1/" not in name:
            continue
        responses = operation["responses"]
        for status in ("429", "502", "503", "504"):
            content = responses[status]["content"]["application/problem+json"]
            schemas = {"Problem", "OAuthProblem"} if name in OAUTH else {"Problem"}
            assert content["schema"]["$ref"].removeprefix("#/components/schemas/") in schemas, (name, status)
        assert "Too many requests" in responses["429"]["description"]
        assert "Retry-After" in responses["429"]["headers"], name
        assert "Retry-After" in responses["503"]["headers"], name
        is_slow_upload = SlowUploadError.title in responses.get("408", {"description": ""})["description"]
        assert is_slow_upload == ("requestBody" in operation), name
        for status, response in responses.items():
            assert (status[0] in "23" or status == "429") == (response["headers"].keys() >= LIMITS), (name, status)


def test_a_stream_documents_that_there_may_be_no_place_for_it(whole: Json) -> None:
    follow = whole["paths"]["/api/v1/conversations/{conversation_id}/events"]["get"]
    assert StreamsBusyError.title in follow["responses"]["503"]["description"]


def test_the_pages_of_the_gateway_itself_are_described_too(whole: Json) -> None:
    own = {name: operation for name, operation in operations(whole) if "/api/v1/" not in name}
    assert own.keys() == {"GET /", "GET /health", "GET /health/live", "GET /health/ready", "GET /health/info"}
    for name, operation in own.items():
        assert operation["security"] == []
        assert operation["summary"], name
        assert operation["description"], name
        assert "400" in operation["responses"], name
        # Health checks have no rate limit.
        assert ("429" in operation["responses"]) == (name == "GET /"), name
        assert operation["tags"][0] in {tag["name"] for tag in whole["tags"] if tag["description"]}


def test_scripts_may_read_every_documented_header(whole: Json) -> None:
    documented = {
        name for _, operation in operations(whole) for it in operation["responses"].values() for name in it["headers"]
    }
    exposed = {name.lower() for name in EXPOSED_HEADERS} | {name.lower() for name in SAFELISTED}
    assert documented >= {"X-Request-ID", "Retry-After"}
    assert {name for name in documented if name.lower() not in exposed} == set()


def test_every_header_has_a_schema_and_a_description(whole: Json) -> None:
    for name, operation in operations(whole):
        for response in operation["responses"].values():
            for header, reference in response["headers"].items():
                described = resolve(whole, reference)
                assert described["description"], (name, header)
                assert described["schema"], (name, header)


# JSON Schema 2020-12 and what OpenAPI 3.1 adds to it; pydantic has further names of its own.
NUMERIC = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "const", "enum"}
COMMON = {"type", "format", "title", "description", "default", "examples", "example", "deprecated"}


def test_integers_are_described_with_the_standard_keywords(whole: Json) -> None:
    def integers(node: object) -> Iterator[Json]:
        if isinstance(node, dict):
            if node.get("type") == "integer":
                yield node
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                yield from integers(item)

    found = list(integers(whole))
    assert len(found) > 50
    for schema in found:
        assert schema.keys() <= NUMERIC | COMMON, schema
    limits = [it["schema"] for _, op in operations(whole) for it in op.get("parameters", ()) if it["name"] == "limit"]
    assert {(limit["minimum"], limit["maximum"]) for limit in limits} == {(1, 100)}


def test_tokens_are_obtained_and_refreshed_through_the_gateway(whole: Json) -> None:
    for scheme in whole["components"]["securitySchemes"].values():
        for flow in scheme.get("flows", {}).values():
            for address in ("tokenUrl", "refreshUrl"):
                if address in flow:
                    assert "post" in whole["paths"][flow[address]]
