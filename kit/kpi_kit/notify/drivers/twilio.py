"""Short messages by the API of Twilio (2010-04-01).

Not by apprise 2.3, which sends to api.twilio.com only and returns True or False: a wrong number could not be told from
a service that is busy.
"""

import base64
import json
import re
from contextlib import suppress
from urllib.parse import quote, urlencode

from kpi_kit.errors import UrlError
from kpi_kit.notify.contents import ContentKind, SmsContent
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.errors import DeliveryRefusedError
from kpi_kit.notify.http_channel import HttpChannel, check_url
from kpi_kit.urls import Url

# E.164, the form of numbers that the API takes.
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_FORM = "twilio://AC000:token@api.twilio.com?from=%2B15550100"


class TwilioChannel(HttpChannel):
    traits = Traits("twilio", ContentKind.SMS)

    def __init__(self, url: str, auth: tuple[str, str], sender: str, seconds: float) -> None:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": f"Basic {base64.b64encode(':'.join(auth).encode()).decode()}",
        }
        super().__init__(url, seconds, headers=headers, read_reason=_read_code)
        self._sender = sender

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 takes none
        if not _NUMBER.fullmatch(delivery.address):
            raise DeliveryRefusedError("the number is not in the international form, such as +15550100")
        text = SmsContent.model_validate(delivery.content).text
        form = {"From": self._sender, "To": delivery.address, "Body": text}
        await self._post(urlencode(form).encode())


def _read_code(body: bytes) -> str:
    """The number of the error; its text quotes the recipient's."""
    with suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict) and isinstance(found.get("code"), int):
            return f"error {found['code']}"
    return ""


def create_driver(parts: Url, seconds: float) -> TwilioChannel:
    if not (parts.host and parts.username and parts.password and parts.options.get("from")):
        raise UrlError(f"an account, its token and a sender are needed: {_FORM}")
    scheme = "http" if parts.scheme == "twilio+http" else "https"
    account = quote(parts.username, safe="")
    url = f"{scheme}://{parts.place.rstrip('/')}/2010-04-01/Accounts/{account}/Messages.json"
    auth = parts.username, parts.password
    return TwilioChannel(check_url(url, _FORM), auth, parts.options["from"], seconds)
