"""Further services through apprise, by its URLs: ``apprise+discord://...``, ``apprise+tgram://...``.

apprise calls with requests, so each delivery has a thread, of a few. It returns True or False: what has failed is tried
again, whatever the reason was.
"""

import asyncio
import contextvars
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import apprise

from kpi_kit.errors import UrlError
from kpi_kit.notify.contents import ContentKind, TextContent
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError
from kpi_kit.quiet import quiet

PREFIX = "apprise+"
_PLACE = "{address}"
_THREADS = 4
# apprise reads several targets from a text with one of these.
_SEPARATORS = frozenset(", \t\r\n;/")
_MOST_ADDRESS = 200


class AppriseChannel:
    """``text`` is a URL of apprise; ``{address}`` in it stands for the recipient's."""

    def __init__(self, text: str, seconds: float) -> None:
        self.traits = Traits("apprise", ContentKind.TEXT, needs_address=_PLACE in text)
        self._text = text
        self._seconds = seconds
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kpi-kit-apprise")

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 takes none
        content = TextContent.model_validate(delivery.content)
        url = self._text.replace(_PLACE, _encode(delivery.address)) if self.traits.needs_address else self._text
        with quiet():
            context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                is_sent = await loop.run_in_executor(self._threads, context.run, _send, url, content, self._seconds)
        except TimeoutError:
            raise ChannelUnavailableError(f"no response within {self._seconds:g} seconds") from None
        if not is_sent:
            raise ChannelUnavailableError("the service did not accept the message, and apprise does not say why")


def _encode(address: str) -> str:
    if not address or len(address) > _MOST_ADDRESS or _SEPARATORS & set(address) or not address.isprintable():
        raise DeliveryRefusedError("this cannot be the address of one recipient")
    return quote(address, safe="")


def _send(url: str, content: TextContent, seconds: float) -> bool:
    plugin = _load(url)
    if plugin is None:
        raise ChannelUnavailableError("apprise cannot use the URL of the channel")
    plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, seconds)
    plugin.socket_read_timeout = min(plugin.socket_read_timeout, seconds)
    # Its own pause between messages would hold a thread: the services say themselves when there are too many.
    plugin.request_rate_per_sec = 0
    return bool(plugin.notify(body=content.text, title=content.title))


def _load(url: str) -> Any:  # noqa: ANN401 apprise has no type for it that is exported
    asset = apprise.AppriseAsset(
        http_redirects=False, storage_mode=apprise.PersistentStoreMode.MEMORY, secure_logging=True
    )
    return apprise.Apprise.instantiate(url, asset=asset)


def create_driver(text: str, seconds: float) -> AppriseChannel:
    """UrlError if apprise does not know the URL. Nothing is sent."""
    url = text.removeprefix(PREFIX)
    with quiet(), warnings.catch_warnings():
        # The first call imports all plug-ins, one of which imports a module that Python deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        plugin = _load(url.replace(_PLACE, "15550100"))
    if plugin is None:
        raise UrlError("apprise does not know this URL: see https://appriseit.com/services/ for that of each service")
    return AppriseChannel(url, seconds)
