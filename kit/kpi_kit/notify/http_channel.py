"""What the channels share that call a service by HTTP: the kit's errors of sending as those of a delivery."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from kpi_kit.destinations import DestinationError, RefusedDestinationError
from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError
from kpi_kit.posting import Poster, PostResponse

# 408 Request Timeout, 425 Too Early and 429 Too Many Requests may pass, as the errors of servers do.
_MAY_PASS = {408, 425, 429}
_FIRST_SERVER_ERROR = 500


class HttpChannel:
    """The base of channels that send to one URL, which the operator has given.

    ``read_reason`` finds in the body of a response why the service refuses: "" if it does not say so in a form that
    quotes nothing.
    """

    def __init__(
        self, url: httpx.URL, seconds: float, *, headers: dict[str, str], read_reason: Callable[[bytes], str]
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._headers = headers
        self._read_reason = read_reason
        self._poster: Poster | None = None

    async def open(self) -> None:
        self._poster = Poster(seconds=self._seconds)
        self._poster.load()

    async def close(self) -> None:
        poster, self._poster = self._poster, None
        if poster is not None:
            await poster.close()

    async def _post(self, content: bytes) -> None:
        """Return once the service has accepted it; DeliveryRefusedError or ChannelUnavailableError otherwise."""
        if self._poster is None:
            raise build_not_open()
        with translating_errors():
            response = await self._poster.post(self._url, content=content, headers=self._headers)
        self._check(response)

    def _check(self, response: PostResponse) -> None:
        if response.is_success:
            return
        reason = self._read_reason(response.body)
        words = f"the service responded {response.words}" + (f" ({reason})" if reason else "")
        if response.status in _MAY_PASS or response.status >= _FIRST_SERVER_ERROR:
            raise ChannelUnavailableError(words)
        raise DeliveryRefusedError(words)


@contextmanager
def translating_errors() -> Iterator[None]:
    try:
        yield
    except RefusedDestinationError as error:
        raise DeliveryRefusedError(error.reason) from None
    except DestinationError as error:
        raise ChannelUnavailableError(error.reason) from None


def build_not_open() -> ChannelUnavailableError:
    return ChannelUnavailableError("the channel is not open")
