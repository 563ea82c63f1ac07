"""The gateway's own pages: the welcome, the API document, and Swagger UI that shows it."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, HTTPException
from kpi_shared.http.conditional import is_not_modified
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from kpi_gateway import __version__
from kpi_gateway.documents import Documents
from kpi_gateway.routes import API

_OURS = files("kpi_gateway") / "static"
_SWAGGER = files("fastapi_swagger") / "resources"
_ASSETS = {
    "docs.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
# The page takes everything from the gateway and calls nothing else; Swagger UI draws some icons as data: images.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Links(BaseModel):
    api: str
    docs: str
    openapi: str
    health: str


class Welcome(BaseModel):
    name: str
    version: str
    links: Links


def pages_router(documents: Documents) -> APIRouter:
    router = APIRouter(tags=["gateway"])

    @router.get("/", summary="What is this, and where does one go from here?")
    async def welcome() -> Welcome:
        # Paths, not addresses: an address would have to be built from a Host header that anyone may write.
        links = Links(api=API, docs="/docs", openapi="/openapi.json", health="/health")
        return Welcome(name="KPI-One", version=__version__, links=links)

    async def openapi(request: Request) -> Response:
        document = await documents.rendered()
        headers = {"ETag": document.etag, "Cache-Control": "no-cache"}
        if is_not_modified(request, document.etag):
            return Response(status_code=304, headers=headers)
        return Response(document.body, headers=headers, media_type="application/json")

    router.add_route("/openapi.json", openapi, include_in_schema=False)
    router.add_route("/docs", _docs, include_in_schema=False)
    router.add_route("/docs/{name}", _asset, include_in_schema=False)
    return router


async def _docs(_request: Request) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(_content("docs.html"), headers=headers, media_type="text/html")


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404)
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(_content(name), headers=headers, media_type=_ASSETS[name])


@cache
def _content(name: str) -> bytes:
    ours = _OURS / name
    return (ours if ours.is_file() else _SWAGGER / name).read_bytes()
