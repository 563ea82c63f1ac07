"""The merged API document, and the gateway's own pages."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer
from gateway_support import ROUTES, closed_port, gateway, raw_upstream, send_raw, serving, table_of
from kpi_gateway.documents.merging import Merger, ServiceDocument
from kpi_gateway.upstream.streams import StreamsBusyError
from kpi_shared.product import PRODUCT
from pydantic import BaseModel

TABLE = table_of({"/auth": "auth", "/posts": "content"})


def document(path: str, schemas: dict[str, Any], operation: dict[str, Any] | None = None) -> ServiceDocument:
    operation = {"operationId": "read", "responses": {}} | (operation or {})
    return ServiceDocument(info={}, paths={path: {"get": operation}}, components={"schemas": schemas})


def refers(name: str) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}}


def merged(auth: ServiceDocument, content: ServiceDocument) -> dict[str, Any]:
    merger = Merger(ServiceDocument(info={}, paths={}), TABLE)
    merger.add("auth", auth)
    merger.add("content", content)
    return merger.document({"title": "x", "version": "1"})


def schema_of(whole: dict[str, Any], path: str) -> str:
    reference = whole["paths"][path]["get"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return str(reference).removeprefix("#/components/schemas/")


def test_equal_components_are_merged() -> None:
    item = {"Item": {"type": "object"}}
    whole = merged(document("/auth", item, refers("Item")), document("/posts", item, refers("Item")))
    assert whole["components"]["schemas"] == item
    assert schema_of(whole, "/api/v1/posts") == "Item"


def test_different_components_with_one_name_are_kept_apart() -> None:
    auth = document("/auth", {"Item": {"type": "string"}}, refers("Item"))
    content = document("/posts", {"Item": {"type": "integer"}}, refers("Item"))
    whole = merged(auth, content)
    schemas = whole["components"]["schemas"]
    assert schemas[schema_of(whole, "/api/v1/auth")] == {"type": "string"}
    assert schemas[schema_of(whole, "/api/v1/posts")] == {"type": "integer"}


def test_references_to_a_renamed_component_are_renamed() -> None:
    page = {"properties": {"items": {"$ref": "#/components/schemas/Item"}}}
    outer = {"discriminator": {"mapping": {"p": "#/components/schemas/Page"}}}
    shared = {"Page": page, "Outer": outer}
    auth = document("/auth", {"Item": {"type": "string"}, **shared}, refers("Outer"))
    content = document("/posts", {"Item": {"type": "integer"}, **shared}, refers("Outer"))
    whole = merged(auth, content)
    schemas = whole["components"]["schemas"]
    mapped = schemas[schema_of(whole, "/api/v1/posts")]["discriminator"]["mapping"]["p"]
    item = schemas[mapped.rpartition("/")[2]]["properties"]["items"]["$ref"]
    assert schemas[item.rpartition("/")[2]] == {"type": "integer"}


@pytest.mark.parametrize("keyword", ["title", "$anchor", "$dynamicAnchor"])
def test_a_renamed_schema_does_not_keep_its_old_name_in_itself(keyword: str) -> None:
    auth = document("/auth", {"Sort": {"enum": ["asc"], keyword: "Sort"}}, refers("Sort"))
    other = {"properties": {"sort": {"$ref": "#Sort"}, "title": {"title": "Sort"}}, "title": "Sorting"}
    content = document("/posts", {"Sort": {"enum": ["new"], keyword: "Sort"}, "Other": other}, refers("Sort"))
    schemas = merged(auth, content)["components"]["schemas"]
    assert schemas["Sort"] == {"enum": ["asc"], keyword: "Sort"}
    assert schemas["ContentSort"] == {"enum": ["new"], keyword: "ContentSort"}
    anchor = "#Sort" if keyword == "title" else "#ContentSort"
    assert schemas["Other"]["properties"] == {"sort": {"$ref": anchor}, "title": {"title": "Sort"}}
    assert schemas["Other"]["title"] == "Sorting"


def test_a_title_that_is_not_the_name_of_its_schema_stays() -> None:
    auth = document("/auth", {"Sort": {"enum": ["asc"], "title": "An order"}}, refers("Sort"))
    content = document("/posts", {"Sort": {"enum": ["new"], "title": "An order"}}, refers("Sort"))
    assert merged(auth, content)["components"]["schemas"]["ContentSort"]["title"] == "An order"


@pytest.mark.parametrize(
    ("discriminator", "mapping"),
    [
        ({"mapping": {"cat": "#/components/schemas/Cat"}}, {"cat": "#/components/schemas/ContentCat"}),
        ({"mapping": {"cat": "Cat"}}, {"cat": "#/components/schemas/ContentCat"}),
        # Without an entry, the value is the name of the schema.
        ({}, {"Cat": "#/components/schemas/ContentCat"}),
        ({"mapping": {"dog": "Dog"}}, {"dog": "Dog", "Cat": "#/components/schemas/ContentCat"}),
    ],
)
def test_the_values_of_a_discriminator_lead_to_the_renamed_schema(
    discriminator: dict[str, Any], mapping: dict[str, str]
) -> None:
    pet = {"oneOf": [{"$ref": "#/components/schemas/Cat"}], "discriminator": {"propertyName": "kind", **discriminator}}
    auth = document("/auth", {"Cat": {"type": "string"}}, refers("Cat"))
    content = document("/posts", {"Cat": {"type": "object"}, "Pet": pet}, refers("Pet"))
    assert merged(auth, content)["components"]["schemas"]["Pet"]["discriminator"]["mapping"] == mapping


def test_operation_ids_are_unique() -> None:
    whole = merged(document("/auth", {}), document("/posts", {}))
    ids = [item["get"]["operationId"] for item in whole["paths"].values()]
    assert ids == ["read", "content_read"]


def test_a_response_of_a_service_keeps_its_own_description_and_headers() -> None:
    described = {"description": "Too many attempts", "headers": {"retry-after": {"description": "Later"}}}
    auth = document("/auth", {}, {"responses": {"429": described, "503": {"$ref": "#/components/responses/Busy"}}})
    responses = merged(auth, document("/posts", {}))["paths"]["/api/v1/auth"]["get"]["responses"]
    assert responses["429"]["description"] == "Too many attempts / Too many requests"
    assert responses["429"]["headers"]["retry-after"] == {"description": "Later"}
    assert "Retry-After" not in responses["429"]["headers"]
    assert responses["503"] == {"$ref": "#/components/responses/Busy"}


@pytest.mark.parametrize(
    "operation",
    [
        {"requestBody": {"content": {"application/json": {}, "application/x-ndjson": {}}}},
        {"requestBody": {"content": {"text/event-stream": {}}}},
        {"responses": {"200": {"content": {"text/event-stream": {}}}}},
    ],
)
def test_streams_have_the_refusal_for_want_of_a_place(operation: dict[str, Any]) -> None:
    whole = merged(document("/auth", {}, refers("Item")), document("/posts", {}, operation))
    auth, posts = (whole["paths"][f"/api/v1/{name}"]["get"]["responses"] for name in ("auth", "posts"))
    assert StreamsBusyError.title not in auth["503"]["description"]
    assert StreamsBusyError.title in posts["503"]["description"]


def test_an_operation_keeps_the_alternative_to_a_token() -> None:
    auth = document("/auth", {}, {"security": [{}, {"password": []}]})
    assert merged(auth, document("/posts", {}))["paths"]["/api/v1/auth"]["get"]["security"] == [{}, {"password": []}]


def test_only_paths_that_are_routed_to_the_service_are_included() -> None:
    auth = document("/posts/stolen", {})
    whole = merged(auth, document("/health", {}))
    assert whole["paths"] == {}


def test_different_security_schemes_are_kept_apart_and_log_in_through_the_gateway() -> None:
    auth, content = document("/auth", {}), document("/posts", {}, {"security": [{"password": []}]})
    # The security of a whole document is copied to each of its operations.
    auth.security = [{"password": []}]
    for service, token_url in ((auth, "/auth/login"), (content, "https://login.example/token")):
        flows = {"password": {"scopes": {}, "tokenUrl": token_url, "refreshUrl": token_url}}
        service.components["securitySchemes"] = {"password": {"type": "oauth2", "flows": flows}}
    whole = merged(auth, content)
    schemes = whole["components"]["securitySchemes"]

    def log_in(path: str) -> str:
        (name,) = whole["paths"][path]["get"]["security"][0]
        flow = schemes[name]["flows"]["password"]
        assert flow["tokenUrl"] == flow["refreshUrl"]
        return str(flow["tokenUrl"])

    assert log_in("/api/v1/auth") == "/api/v1/auth/login"
    assert log_in("/api/v1/posts") == "https://login.example/token"


class Post(BaseModel):
    id: int


def service(prefix: str, tag: str) -> FastAPI:
    """A service like ours, with a log-in address and one protected path."""
    app = FastAPI()
    scheme = OAuth2PasswordBearer(tokenUrl="/auth/login", scheme_name="password")

    @app.get(f"{prefix}/mine", tags=[tag])
    async def mine(_token: Annotated[str, Depends(scheme)]) -> Post:
        return Post(id=1)

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


@asynccontextmanager
async def platform() -> AsyncIterator[str]:
    async with (
        serving(service("/auth", "auth")) as auth,
        serving(service("/posts", "posts")) as content,
        gateway(auth_url=auth, content_url=content) as address,
    ):
        yield address


async def test_the_document_covers_all_services() -> None:
    async with platform() as address, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{address}/openapi.json")
        again = await client.get(f"{address}/openapi.json", headers={"If-None-Match": response.headers["etag"]})
    whole = response.json()
    assert {"/", "/health", "/health/ready", "/api/v1/auth/mine", "/api/v1/posts/mine"} <= whole["paths"].keys()
    assert [server["url"] for server in whole["servers"]] == ["/"]
    assert whole["components"]["securitySchemes"]["password"]["flows"]["password"]["tokenUrl"] == "/api/v1/auth/login"
    ids = [operation["operationId"] for item in whole["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    assert "Temporarily missing" not in whole["info"]["description"]
    assert again.status_code == 304


def _references(node: object) -> set[str]:
    if isinstance(node, dict):
        here = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return here.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def print_openapi(documents: object) -> subprocess.CompletedProcess[str]:
    routes = [row.model_dump(mode="json", exclude_defaults=True) for row in ROUTES]
    return subprocess.run(
        [sys.executable, "-m", "kpi_gateway", "openapi"],
        env={**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "ROUTES": json.dumps(routes)},
        input=documents if isinstance(documents, str) else json.dumps(documents),
        encoding="utf-8",
        capture_output=True,
        timeout=30,
        check=False,
    )


async def test_the_command_prints_the_document_of_the_running_gateway() -> None:
    content = service("/posts", "posts")
    content.openapi()["paths"]["/posts/mine"]["get"]["summary"] = "Zoë's posts"
    async with (
        serving(service("/auth", "auth")) as auth,
        serving(content) as url,
        gateway(auth_url=auth, content_url=url) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        whole = (await client.get(f"{address}/openapi.json")).json()
        urls = {"content": url, "auth": auth}
        documents = {name: (await client.get(f"{base}/openapi.json")).json() for name, base in urls.items()}
    done = print_openapi(documents)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    assert "Zoë" in done.stdout


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        ("{", "kpi-gateway: input: Invalid JSON"),
        ([], "kpi-gateway: input: "),
        ({"auth": {"info": {}, "paths": {}}, "content": {"info": {}}}, "kpi-gateway: content.paths: Field required"),
        ({"auth": {"info": {}, "paths": {}}}, "kpi-gateway: no document for content"),
        (
            {name: {"info": {}, "paths": {}} for name in ("auth", "content", "else")},
            "kpi-gateway: no route leads to else",
        ),
    ],
)
def test_the_command_refuses_incomplete_input_in_one_sentence(documents: object, reason: str) -> None:
    done = print_openapi(documents)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(reason)
    assert done.stderr.count("\n") == 1


async def test_every_reference_in_the_document_has_a_target() -> None:
    async with platform() as address, httpx.AsyncClient(trust_env=False) as client:
        whole = (await client.get(f"{address}/openapi.json")).json()
    known = {f"#/components/{kind}/{name}" for kind, definitions in whole["components"].items() for name in definitions}
    assert _references(whole) <= known


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"paths": []}', b'{"info": {}, "paths": {"/posts": 1}}'])
async def test_a_service_without_a_document_is_left_out_and_mentioned(data: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if data:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        writer.close()

    async with (
        serving(service("/auth", "auth")) as auth,
        raw_upstream(handler) as content,
        gateway(auth_url=auth, content_url=content) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.get(f"{address}/openapi.json")
    assert response.status_code == 200
    assert "/api/v1/auth/mine" in response.json()["paths"]
    assert "/api/v1/posts/mine" not in response.json()["paths"]
    assert "they provided no document: content" in response.json()["info"]["description"]


async def test_the_welcome_page_links_to_the_other_pages() -> None:
    async with platform() as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
        response = await client.get("/", headers={"Host": "evil.example"})
        welcome = response.json()
        assert (welcome["name"], welcome["version"]) == (PRODUCT, "0.1.0")
        assert "evil.example" not in response.text
        for name in ("docs", "openapi", "health"):
            assert (await client.get(welcome["links"][name])).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/health/live", "/health/ready"])
async def test_head_gets_the_response_of_get_without_the_body(path: str) -> None:
    request = b"HEAD %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode()
    async with platform() as address:
        head, _, body = (await send_raw(address, request)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 0" not in head
    assert body == b""


async def test_the_gateway_is_ready_if_every_service_is() -> None:
    async with platform() as address, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{address}/health/ready")
        assert (await client.get(f"{address}/health/info")).json()["name"] == "kpi-gateway"
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"auth": "ok", "content": "ok"}}


async def test_the_gateway_is_ready_and_names_the_state_of_each_service_while_one_does_not_respond() -> None:
    async with (
        serving(service("/auth", "auth")) as auth,
        gateway(auth_url=auth, content_url=closed_port()) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.get(f"{address}/health/ready")
    assert response.status_code == 200
    assert response.json()["checks"] == {"auth": "ok", "content": "upstream-unreachable"}


async def test_the_gateway_is_not_ready_if_no_service_responds() -> None:
    async with gateway() as address, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{address}/health/ready")
        live = await client.get(f"{address}/health/live")
    assert response.status_code == 503
    assert response.json()["detail"] == "auth: upstream-unreachable; content: upstream-unreachable"
    assert response.headers["retry-after"] == "1"
    assert live.status_code == 200


async def test_the_documentation_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "docs.js", "favicon-32x32.png"):
        assert f'"/docs/{name}"' in page.text
        assert (await client.get(f"/docs/{name}")).status_code == 200
    assert (await client.get("/docs/__init__.py")).status_code == 404
