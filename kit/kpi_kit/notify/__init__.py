"""Notifications: written once, sent by mail, Slack, short message, webhook and into the recipient's list."""

from kpi_kit.notify.contents import (
    ContentKind,
    MailContent,
    SlackContent,
    SmsContent,
    TextContent,
    WebhookContent,
)
from kpi_kit.notify.contract import Channel, Delivery, NotificationStore
from kpi_kit.notify.errors import (
    ChannelUnavailableError,
    DeliveryError,
    DeliveryRefusedError,
    InvalidContentError,
    NeedsQueueError,
    NoContentError,
    NotifierNotOpenError,
    NotifyError,
    UnknownChannelError,
)
from kpi_kit.notify.fake import NotifyFake, SentNotification
from kpi_kit.notify.inbox import StoredNotification
from kpi_kit.notify.notification import Notification, escape_slack
from kpi_kit.notify.notifier import Notifier
from kpi_kit.notify.receipts import Outcome, Receipt
from kpi_kit.notify.recipients import Recipient

__all__ = [
    "Channel",
    "ChannelUnavailableError",
    "ContentKind",
    "Delivery",
    "DeliveryError",
    "DeliveryRefusedError",
    "InvalidContentError",
    "MailContent",
    "NeedsQueueError",
    "NoContentError",
    "Notification",
    "NotificationStore",
    "Notifier",
    "NotifierNotOpenError",
    "NotifyError",
    "NotifyFake",
    "Outcome",
    "Receipt",
    "Recipient",
    "SentNotification",
    "SlackContent",
    "SmsContent",
    "StoredNotification",
    "TextContent",
    "UnknownChannelError",
    "WebhookContent",
    "escape_slack",
]
