"""The channel of mails."""

import asyncio

from kpi_kit.mail import InvalidMessageError, Mailer, MailRefusedError, MailUnavailableError, Message
from kpi_kit.notify.contents import ContentKind, MailContent
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError


class MailChannel:
    """Sends with a mailer, which its owner opens and closes."""

    traits = Traits("mail", ContentKind.MAIL)

    def __init__(self, mailer: Mailer, seconds: float) -> None:
        self._mailer = mailer
        self._seconds = seconds

    async def open(self) -> None:
        """The mailer is open."""

    async def close(self) -> None:
        """The mailer stays open."""

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 takes none
        message = _write(MailContent.model_validate(delivery.content), delivery.address)
        try:
            async with asyncio.timeout(self._seconds):
                await self._mailer.send(message)
        except (InvalidMessageError, MailRefusedError) as error:
            raise DeliveryRefusedError(f"the mail was refused: {error}") from None
        except MailUnavailableError as error:
            raise ChannelUnavailableError(error.reason) from None
        except TimeoutError:
            raise ChannelUnavailableError(f"the mail was not accepted within {self._seconds:g} seconds") from None


def _write(content: MailContent, address: str) -> Message:
    return Message(
        to=address,
        reply_to=content.reply_to or (),
        subject=content.subject,
        text=content.text,
        html=content.html,
        template=content.template,
        values=content.values,
    )
