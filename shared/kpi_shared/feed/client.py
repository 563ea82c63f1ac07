"""Requests to auth's feed. They go to auth's internal port, and none of them while a caller waits for a response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from kpi_shared.feed.errors import EventsGoneError, FeedError
from kpi_shared.feed.schemas import AccountPage, EventPage, Snapshot
from kpi_shared.feed.settings import FollowerSettings
from kpi_shared.token_keys.reports import HOLDERS_PATH, Holding, KilledKeys

# The stream has a heartbeat every 0.2 s.
SILENCE_SECONDS = 0.6
PAGE_SIZE = 500
ACCOUNTS_PAGE_SIZE = 1000
# A whole response, however slowly it comes.
_RESPONSE_SECONDS = 5.0
_MAX_RESPONSE = 64 * 1024 * 1024
_TIMEOUT = httpx.Timeout(SILENCE_SECONDS)
# A database must be asked before the first byte; for a snapshot, about very many events.
_RESPONSE_TIMEOUT = httpx.Timeout(SILENCE_SECONDS, read=1.5)
_SNAPSHOT_TIMEOUT = httpx.Timeout(SILENCE_SECONDS, read=_RESPONSE_SECONDS)

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


class FeedClient:
    """The feed at all addresses of auth; each request names one of them."""

    def __init__(self, *, addresses: tuple[str, ...], key: str) -> None:
        self.addresses = addresses
        self._preferred = addresses[0]
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            # A proxy of the environment must get neither the key nor the feed.
            trust_env=False,
        )

    @classmethod
    def of(cls, settings: FollowerSettings) -> Self | None:
        """None without the settings of the feed."""
        if settings.auth_internal_url is None or settings.feed_key is None:
            return None
        return cls(addresses=settings.auth_internal_url, key=settings.feed_key.get_secret_value())

    def prefer(self, address: str) -> None:
        """Ask this address first: it is known to respond."""
        self._preferred = address

    async def close(self) -> None:
        await self._client.aclose()

    async def get_revocations(self, address: str) -> Snapshot:
        return await self._ask("GET", f"{address}/internal/feed/revocations", Snapshot, timeout=_SNAPSHOT_TIMEOUT)

    async def get_events(self, address: str, *, after: int) -> EventPage:
        """A page of events; EventsGoneError if ``after`` is too old."""
        url = f"{address}/internal/feed/events/page"
        return await self._get(url, EventPage, after=after, limit=PAGE_SIZE)

    async def get_accounts(self, address: str, *, after: int) -> AccountPage:
        url = f"{address}/internal/feed/accounts"
        return await self._get(url, AccountPage, after=after, limit=ACCOUNTS_PAGE_SIZE)

    async def report_keys(self, address: str, holding: Holding) -> KilledKeys:
        """Say which keys of the tokens this process holds; the response has those that it must not accept."""
        return await self._ask("POST", f"{address}{HOLDERS_PATH}", KilledKeys, json=holding._asdict())

    async def ask_any(self, ask: Callable[[str], Awaitable[Result]]) -> Result:
        """The result of the first address that responds well; FeedError if none does."""
        failure = FeedError("there is no address")
        for address in sorted(self.addresses, key=lambda address: address != self._preferred):
            try:
                return await ask(address)
            except EventsGoneError:
                raise
            except FeedError as error:
                failure = error
        raise failure

    @asynccontextmanager
    async def open_events(self, address: str, *, after: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The stream of events in pieces; FeedError when it fails or is silent for too long."""
        url = f"{address}/internal/feed/events"
        with _as_feed_errors():
            async with self._client.stream("GET", url, params={"after": after}) as response:
                _check_status(response)
                yield response.aiter_raw()

    async def _get(self, url: str, schema: type[Body], **parameters: int) -> Body:
        return await self._ask("GET", url, schema, params=parameters)

    async def _ask(
        self,
        method: str,
        url: str,
        schema: type[Body],
        timeout: httpx.Timeout = _RESPONSE_TIMEOUT,  # noqa: ASYNC109 the client's own
        **request: Any,  # noqa: ANN401 what httpx takes
    ) -> Body:
        with _as_feed_errors():
            async with (
                asyncio.timeout(_RESPONSE_SECONDS),
                self._client.stream(method, url, timeout=timeout, **request) as response,
            ):
                _check_status(response)
                return schema.model_validate_json(await _read_bounded(response))


def _check_status(response: httpx.Response) -> None:
    if response.status_code == HTTPStatus.GONE:
        raise EventsGoneError("events have been deleted")
    if response.status_code != HTTPStatus.OK:
        reason = (
            "it refused FEED_KEY" if response.status_code == HTTPStatus.UNAUTHORIZED else "it responded with an error"
        )
        raise FeedError(f"{reason} (status {response.status_code})")


async def _read_bounded(response: httpx.Response) -> bytes:
    pieces, size = [], 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > _MAX_RESPONSE:
            raise FeedError("its response is too long")
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def _as_feed_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.TimeoutException, TimeoutError):
        raise FeedError("it was silent for too long") from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
        raise FeedError(f"it cannot be reached ({type(error).__name__})") from None
    except ValidationError:
        raise FeedError("its response is not of the feed") from None
