"""Mails by the HTTP API of Mailgun, as complete messages."""

from kpi_kit.mail.composing import list_recipients
from kpi_kit.mail.contract import NO_HOOKS, SEND_SECONDS, Hooks, Letter
from kpi_kit.mail.drivers.http_api import MailApi
from kpi_kit.mail.targets import ApiAccount


class MailgunTransport:
    def __init__(self, account: ApiAccount, *, seconds: float = SEND_SECONDS) -> None:
        self._path = f"/v3/{account.domain}/messages.mime"
        self._api = MailApi(account.base_url, key=account.key, auth=("api", account.key), seconds=seconds)

    async def send(self, letter: Letter, hooks: Hooks = NO_HOOKS) -> None:
        await hooks.begin_content()
        message = ("message.eml", letter.message.as_bytes(), "message/rfc822")
        await self._api.post(self._path, data={"to": list_recipients(letter)}, files={"message": message})
        await hooks.accept()

    async def close(self) -> None:
        await self._api.close()


def create_driver(target: ApiAccount) -> MailgunTransport:
    return MailgunTransport(target)
