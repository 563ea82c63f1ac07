"""The client that users hold."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TypedDict, TypeVar, Unpack, cast, overload

from pydantic import JsonValue, SecretStr, ValidationError

from kpi_kit.drivers import choose_driver
from kpi_kit.errors import UrlError
from kpi_kit.http.circuit import CircuitState
from kpi_kit.http.drivers import DRIVERS
from kpi_kit.http.errors import ResponseFormatError
from kpi_kit.http.headers import basic, bearer, check_method, normalize, normalize_shared
from kpi_kit.http.limits import Limits
from kpi_kit.http.messages import Request, Response, write_json
from kpi_kit.http.places import Params, join_path, write_query
from kpi_kit.http.sending import Sender
from kpi_kit.observing import Observer, observe

T = TypeVar("T")
# The header fields of the request that is being handled, such as X-Request-ID and traceparent.
ContextHeaders = Callable[[], Mapping[str, str]]
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_JSON = {"content-type": "application/json"}
_ANY_JSON = cast("type[JsonValue]", JsonValue)
_LIMITS = Limits()


class Options(TypedDict, total=False):
    """What each method takes beside the path.

    ``timeout`` is the deadline of the whole call in seconds, in place of ``Limits.total``. With an ``idempotency_key``,
    which must be another one for each thing that is to be done, a POST or PATCH is repeated as a GET is.
    """

    params: Params
    headers: Mapping[str, str]
    idempotency_key: str
    timeout: float


class HttpClient:
    """Requests to one service. Opened once by ``async with``; what ``with_...`` return shares its connections.

    Each method returns the response if its status is below 400, and raises a ``kpi_kit.http.HttpError`` otherwise.
    """

    @classmethod
    def from_url(
        cls,
        url: str | SecretStr,
        *,
        observer: Observer | None = None,
        context_headers: ContextHeaders | None = None,
        limits: Limits = _LIMITS,
        proxy: str | SecretStr | None = None,
    ) -> "HttpClient":
        """``url`` is the base of all paths: ``https://api.example.com/v1``; a name and password in it are sent.

        ``context_headers`` is called for each call, and what it returns is sent with it; an Idempotency-Key is not
        allowed there.
        """
        driver, parts = choose_driver(url, DRIVERS)
        if not parts.host:
            raise UrlError(f"a URL with a host is needed: {', '.join(driver.forms.values())}")
        host = f"[{parts.host}]" if ":" in parts.host else parts.host
        origin = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"
        through = proxy.get_secret_value() if isinstance(proxy, SecretStr) else proxy
        transport = driver.load().create_driver(origin, limits, proxy=through)
        client = HttpClient(
            Sender(transport, origin=origin, limits=limits),
            base_path=parts.path.rstrip("/"),
            observer=observer,
            context_headers=context_headers,
            driver=driver.name,
        )
        return client.with_basic_auth(parts.username, parts.password or "") if parts.username else client

    def __init__(
        self,
        sender: Sender,
        *,
        base_path: str,
        observer: Observer | None,
        driver: str,
        context_headers: ContextHeaders | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._sender = sender
        self._base_path = base_path
        self._observer = observer
        self._driver = driver
        self._context_headers = context_headers
        self._headers = headers or {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._sender.origin})"

    async def __aenter__(self) -> Self:
        await self._sender.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.close()

    @property
    def circuit(self) -> CircuitState:
        """Whether requests are sent at present."""
        return self._sender.circuit.state

    def with_token(self, token: str | SecretStr) -> "HttpClient":
        """A client that sends ``Authorization: Bearer``, over the same connections."""
        return self._add(bearer(token))

    def with_basic_auth(self, username: str, password: str | SecretStr) -> "HttpClient":
        """A client that sends this name and password, over the same connections."""
        return self._add(basic(username, password))

    def with_headers(self, headers: Mapping[str, str]) -> "HttpClient":
        """A client that sends these with each request, over the same connections."""
        return self._add(normalize_shared(headers))

    def _add(self, headers: Mapping[str, str]) -> "HttpClient":
        return HttpClient(
            self._sender,
            base_path=self._base_path,
            observer=self._observer,
            driver=self._driver,
            context_headers=self._context_headers,
            headers={**self._headers, **headers},
        )

    async def request(
        self, method: str, path: str, *, json: object = None, content: bytes = b"", **options: Unpack[Options]
    ) -> Response:
        """Send a request; ``json`` is written as JSON, ``content`` is sent as it is.

        HttpValueError for a method, path, parameter or header that is none, and for what is no JSON.
        """
        request = self._build(check_method(method), path, json, content, options)
        with self._observe(request):
            return await self._send(request, options)

    async def get(self, path: str, **options: Unpack[Options]) -> Response:
        return await self.request("GET", path, **options)

    async def delete(self, path: str, **options: Unpack[Options]) -> Response:
        return await self.request("DELETE", path, **options)

    @overload
    async def get_json(self, path: str, **options: Unpack[Options]) -> JsonValue: ...
    @overload
    async def get_json(self, path: str, model: type[T], **options: Unpack[Options]) -> T: ...
    async def get_json(self, path: str, model: type[T] | None = None, **options: Unpack[Options]) -> T | JsonValue:
        """The JSON of the response: as ``model``, or as it is. Without a body, and without a model: None."""
        return await self._exchange("GET", path, None, model, options)

    @overload
    async def post_json(self, path: str, json: object, **options: Unpack[Options]) -> JsonValue: ...
    @overload
    async def post_json(self, path: str, json: object, model: type[T], **options: Unpack[Options]) -> T: ...
    async def post_json(
        self, path: str, json: object, model: type[T] | None = None, **options: Unpack[Options]
    ) -> T | JsonValue:
        """Send ``json``: a JSON value, a model of pydantic or a dataclass. The result is as that of ``get_json``."""
        return await self._exchange("POST", path, json, model, options)

    @overload
    async def put_json(self, path: str, json: object, **options: Unpack[Options]) -> JsonValue: ...
    @overload
    async def put_json(self, path: str, json: object, model: type[T], **options: Unpack[Options]) -> T: ...
    async def put_json(
        self, path: str, json: object, model: type[T] | None = None, **options: Unpack[Options]
    ) -> T | JsonValue:
        """As ``post_json``, and repeated where it fails."""
        return await self._exchange("PUT", path, json, model, options)

    @overload
    async def patch_json(self, path: str, json: object, **options: Unpack[Options]) -> JsonValue: ...
    @overload
    async def patch_json(self, path: str, json: object, model: type[T], **options: Unpack[Options]) -> T: ...
    async def patch_json(
        self, path: str, json: object, model: type[T] | None = None, **options: Unpack[Options]
    ) -> T | JsonValue:
        """As ``post_json``."""
        return await self._exchange("PATCH", path, json, model, options)

    async def _exchange(
        self, method: str, path: str, json: object, model: type[T] | None, options: Options
    ) -> T | JsonValue:
        request = self._build(method, path, json, b"", options)
        with self._observe(request):
            response = await self._send(request, options)
            return _read(request, response, model)

    def _observe(self, request: Request) -> AbstractContextManager[object]:
        operation = request.method.lower() if request.method in _METHODS else "other"
        return observe(self._observer, "http", operation, self._driver)

    async def _send(self, request: Request, options: Options) -> Response:
        # Only now, since the call's own span is the parent of what the other side does.
        if self._context_headers is not None:
            request = request.with_headers(normalize_shared(self._context_headers()))
        return await self._sender.send(request, total=options.get("timeout"))

    def _build(self, method: str, path: str, json: object, content: bytes, options: Options) -> Request:
        headers = {**self._headers, **normalize(options.get("headers", {}))}
        if "idempotency_key" in options:
            headers |= normalize({"idempotency-key": options["idempotency_key"]})
        if json is not None:
            headers, content = {**_JSON, **headers}, write_json(json)
        return Request(
            method=method,
            host=self._sender.host,
            path=join_path(self._base_path, path),
            query=write_query(options.get("params", {})),
            headers=headers,
            content=content,
        )


def _read(request: Request, response: Response, model: type[T] | None) -> T | JsonValue:
    try:
        if model is not None:
            return response.parse(model)
        return response.parse(_ANY_JSON) if response.content else None
    except ValidationError as error:
        # The library's own text quotes values, and its places the keys of the body.
        kinds = error.errors(include_url=False, include_context=False, include_input=False)
        problems = f"{len(kinds)} problems, the first: {kinds[0]['type']}"
        raise ResponseFormatError(request, f"the body is not the expected JSON ({problems})") from None
