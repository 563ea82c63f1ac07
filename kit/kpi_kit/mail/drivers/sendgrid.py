"""Mails by the HTTP API of SendGrid, which takes the parts of a message and composes it itself."""

import base64
from collections.abc import Iterable
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import quote
from typing import Any

from kpi_kit.mail.composing import list_recipients
from kpi_kit.mail.contract import NO_HOOKS, SEND_SECONDS, Hooks, Letter
from kpi_kit.mail.drivers.http_api import MailApi
from kpi_kit.mail.targets import ApiAccount

# These have a place of their own in the API, or the service sets them.
_NO_HEADERS = frozenset(
    {"from", "to", "cc", "reply-to", "subject", "date", "mime-version", "content-type", "content-transfer-encoding"}
)


class SendGridTransport:
    def __init__(self, account: ApiAccount, *, seconds: float = SEND_SECONDS) -> None:
        headers = {"Authorization": f"Bearer {account.key}"}
        self._api = MailApi(account.base_url, key=account.key, headers=headers, seconds=seconds)

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        await hooks.begin_content()
        await self._api.post("/v3/mail/send", json=to_parts(letter))
        await hooks.accept()

    async def close(self) -> None:
        await self._api.close()


def to_parts(letter: Letter) -> dict[str, Any]:
    """The message as JSON of the API's version 3. Its values were checked when it was composed."""
    message = letter.message
    parts: dict[str, Any] = {
        "personalizations": list(_address(letter)),
        "from": _to_json(message["From"].addresses[0]),
        "subject": str(message["Subject"]),
        "content": list(_list_bodies(message)),
        "headers": {name: str(value) for name, value in message.items() if name.lower() not in _NO_HEADERS},
    }
    if message["Reply-To"]:
        parts["reply_to_list"] = [_to_json(address) for address in message["Reply-To"].addresses]
    if attachments := [_attach(part) for part in message.iter_attachments()]:
        parts["attachments"] = attachments
    return parts


def _address(letter: Letter) -> Iterable[dict[str, Any]]:
    """Who gets the mail: the API refuses a mail without To, and an address that is given twice."""
    left = dict.fromkeys(list_recipients(letter))
    fields: dict[str, list[dict[str, str]]] = {}
    for name in ("to", "cc"):
        header = letter.message[name]
        found = [address for address in (header.addresses if header else ()) if address.addr_spec in left]
        for address in found:
            left.pop(address.addr_spec, None)
        if found:
            fields[name] = [_to_json(address, quoted=True) for address in found]
    if "to" in fields:
        yield {**fields, **({"bcc": [{"email": address} for address in left]} if left else {})}
        return
    # A further attempt for some of the recipients: each gets a mail that shows no other address.
    for address in [*[one["email"] for one in fields.get("cc", [])], *left]:
        yield {"to": [{"email": address}]}


def _to_json(address: Address, *, quoted: bool = False) -> dict[str, str]:
    """The service takes a comma in the name of a recipient for the end of an address, unless the name is quoted."""
    name = (
        f'"{quote(address.display_name)}"' if quoted and {*address.display_name} & {",", ";"} else address.display_name
    )
    return {"email": address.addr_spec, **({"name": name} if name else {})}


def _list_bodies(message: EmailMessage) -> Iterable[dict[str, str]]:
    """Never empty, in this order: the API refuses everything else."""
    bodies = {kind: message.get_body((kind,)) for kind in ("plain", "html")}
    texts = {kind: body.get_content() for kind, body in bodies.items() if body is not None}
    for kind, text in texts.items():
        yield {"type": f"text/{kind}", "value": text or "\n"}


def _attach(part: EmailMessage) -> dict[str, str]:
    content = part.get_payload(decode=True)
    return {
        "content": base64.b64encode(content if isinstance(content, bytes) else b"").decode(),
        "type": part.get_content_type(),
        "filename": part.get_filename() or "",
        "disposition": "attachment",
    }


def create_driver(target: ApiAccount) -> SendGridTransport:
    return SendGridTransport(target)
