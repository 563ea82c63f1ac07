"""What the channels share that call a service by HTTP: the kit's errors of sending as those of a delivery."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from kpi_kit.destinations import (
    EVERYWHERE,
    DestinationError,
    Destinations,
    RefusedDestinationError,
    parse_destination,
)
from kpi_kit.errors import UrlError
from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError
from kpi_kit.posting import Poster, PostResponse
from kpi_kit.resolver import SystemResolver

# 408 Request Timeout, 425 Too Early and 429 Too Many Requests may pass, as the errors of servers do.
_MAY_PASS = {408, 425, 429}
_FIRST_SERVER_ERROR = 500
_SCHEMES = frozenset({"https", "http"})


class HttpChannel:
    """The base of channels that send to one URL, which the operator has given.

    ``read_reason`` finds in the body of a response why the service refuses: "" if it does not say so in a form that
    quotes nothing.
    """

    def __init__(
        self, url: str, seconds: float, *, headers: dict[str, str], read_reason: Callable[[bytes], str]
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._headers = headers
        self._read_reason = read_reason
        self._opened: tuple[SystemResolver, Poster] | None = None

    async def open(self) -> None:
        resolver = SystemResolver()
        destinations = Destinations(resolver, schemes=_SCHEMES, allowed=EVERYWHERE)
        poster = Poster(destinations, seconds=self._seconds)
        await poster.load()
        self._opened = resolver, poster

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].close()

    async def _post(self, content: bytes) -> None:
        """Return once the service has accepted it; DeliveryRefusedError or ChannelUnavailableError otherwise."""
        if self._opened is None:
            raise create_not_open_error()
        with translate_errors():
            response = await self._opened[1].post(self._url, content=content, headers=self._headers)
        self._check(response)

    def _check(self, response: PostResponse) -> None:
        if response.is_success:
            return
        reason = self._read_reason(response.body)
        words = f"the service responded {response.status_text}" + (f" ({reason})" if reason else "")
        if response.status in _MAY_PASS or response.status >= _FIRST_SERVER_ERROR:
            raise ChannelUnavailableError(words)
        raise DeliveryRefusedError(words)


def check_url(text: str, form: str) -> str:
    """A URL to which requests can be sent; UrlError, which shows the ``form`` and quotes nothing, if none ever can."""
    try:
        parse_destination(text, _SCHEMES)
    except RefusedDestinationError as error:
        raise UrlError(f"{error.reason}; the form is {form}") from None
    if not unquote(text).isprintable():
        raise UrlError(f"the URL must have no encoded control characters; the form is {form}")
    return text


@contextmanager
def translate_errors() -> Iterator[None]:
    try:
        yield
    except RefusedDestinationError as error:
        raise DeliveryRefusedError(error.reason) from None
    except DestinationError as error:
        raise ChannelUnavailableError(error.reason) from None


def create_not_open_error() -> ChannelUnavailableError:
    return ChannelUnavailableError("the channel is not open")
