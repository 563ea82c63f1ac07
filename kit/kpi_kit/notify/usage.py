"""Tell a customer about a paid invoice, by short message and in the list of notifications."""

import asyncio

from kpi_kit.notify import Notification, Notifier, Recipient, TextContent


class InvoicePaid(Notification):
    number: int
    total: str

    def via(self, recipient: Recipient) -> list[str]:
        return ["sms", "database"] if recipient.id else ["sms"]

    def to_text(self, _recipient: Recipient) -> TextContent:
        return TextContent(title="Thank you", text=f"Invoice {self.number} over {self.total} is paid.")


async def main() -> None:
    # A service has the URLs in NOTIFY_URLS, such as twilio://... and slack://..., and a queue, which tries again.
    urls = {"sms": "memory://sms", "database": "memory://database"}
    async with Notifier.from_urls(urls) as notifier:
        anna = Recipient(id="42", addresses={"sms": "+15550100"})
        someone = notifier.route("sms", "+15550101")
        receipts = await notifier.send(InvoicePaid(number=7, total="12.50 EUR"), [anna, someone])
        for receipt in receipts:
            print(receipt.outcome, receipt.delivery.channel, receipt.delivery.content)


if __name__ == "__main__":
    asyncio.run(main())
