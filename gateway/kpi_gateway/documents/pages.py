"""The gateway's own pages: the welcome page, the API document, and Swagger UI, which shows it."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, HTTPException
from kpi_shared.http.conditional import is_not_modified
from kpi_shared.product import PRODUCT
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from kpi_gateway import __version__
from kpi_gateway.documents.cache import DocumentCache
from kpi_gateway.documents.negotiation import prefers_html
from kpi_gateway.routes import API

_STATIC = files("kpi_gateway.documents") / "static"
_SWAGGER = files("fastapi_swagger") / "resources"
_ASSETS = {
    "docs.js": "text/javascript; charset=utf-8",
    "welcome.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
# The page loads everything from the gateway and calls nothing else; some icons of Swagger UI are data: images.
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


def pages_router(documents: DocumentCache) -> APIRouter:
    router = APIRouter(tags=["gateway"])

    @router.get(
        "/",
        summary="Name, version and entry points of the API",
        description="Clients that prefer HTML, such as browsers, get a page with the first steps.",
        response_model=Welcome,
        responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
    )
    async def welcome(request: Request, response: Response) -> Welcome | Response:
        if prefers_html(",".join(request.headers.getlist("accept"))):
            return _render_page("welcome.html", Vary="Accept")
        response.headers["Vary"] = "Accept"
        # Paths, not URLs: a URL would have to be built from the Host header, which any client can set.
        links = Links(api=API, docs="/docs", openapi="/openapi.json", health="/health")
        return Welcome(name=PRODUCT, version=__version__, links=links)

    async def openapi(request: Request) -> Response:
        document = await documents.get()
        headers = {"ETag": document.etag, "Cache-Control": "no-cache"}
        if is_not_modified(request, document.etag):
            return Response(status_code=304, headers=headers)
        return Response(document.body, headers=headers, media_type="application/json")

    router.add_route("/openapi.json", openapi, include_in_schema=False)
    for path in ("/docs", "/redoc"):
        # Clients of other projects use the second address.
        router.add_route(path, _serve_docs, include_in_schema=False)
    router.add_route("/docs/{name}", _serve_asset, include_in_schema=False)
    return router


async def _serve_docs(_request: Request) -> Response:
    return _render_page("docs.html")


def _render_page(name: str, **more: str) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", **more}
    page = _content(name).replace(b"{product}", PRODUCT.encode())
    return Response(page, headers=headers, media_type="text/html")


async def _serve_asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404)
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(_content(name), headers=headers, media_type=_ASSETS[name])


@cache
def _content(name: str) -> bytes:
    own = _STATIC / name
    return (own if own.is_file() else _SWAGGER / name).read_bytes()
