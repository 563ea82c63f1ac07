"""The drivers of ``notify``."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="mail",
        purpose="Mails, through the mailer that the notifier is given",
        module="kpi_kit.notify.drivers.mail",
        extra="mail",
        packages=("aiosmtplib", "email_validator", "jinja2"),
    ),
    Driver(
        name="database",
        purpose="A table that the recipient reads, in PostgreSQL; or the store that the notifier is given",
        module="kpi_kit.notify.drivers.postgres",
        forms={
            "postgresql": "postgresql://user:password@host/database",
            "postgres": "postgres://user:password@host/database",
            "postgresql+psycopg": "postgresql+psycopg://user:password@host/database",
        },
        is_libpq=True,
        extra="database",
        packages=("psycopg", "psycopg_pool"),
    ),
    Driver(
        name="slack",
        purpose="An incoming webhook of Slack, or of Mattermost, which takes the same messages",
        module="kpi_kit.notify.drivers.slack",
        forms={
            "slack": "slack://hooks.slack.com/services/T000/B000/token",
            "slack+http": "slack+http://mattermost:8065/hooks/token",
        },
        extra="notify",
        packages=("httpcore", "httpx"),
    ),
    Driver(
        name="twilio",
        purpose="Short messages by Twilio, or by a service with the same API",
        module="kpi_kit.notify.drivers.twilio",
        forms={
            "twilio": "twilio://AC000:token@api.twilio.com?from=%2B15550100",
            "twilio+http": "twilio+http://AC000:token@gateway:8080?from=%2B15550100",
        },
        options=("from",),
        extra="notify",
        packages=("httpcore", "httpx"),
    ),
    Driver(
        name="webhook",
        purpose="A signed POST (Standard Webhooks) to one receiver, or to that of each recipient",
        module="kpi_kit.notify.drivers.webhook",
        forms={
            "webhook": "webhook://:whsec_c2VjcmV0@receiver.example.com/hooks",
            "webhook+http": "webhook+http://:whsec_c2VjcmV0@receiver:8080/hooks?allow=10.0.0.0/8",
        },
        options=("allow",),
        extra="notify",
        packages=("httpcore", "httpx"),
    ),
    Driver(
        name="apprise",
        purpose="More than a hundred further services, by the URLs of apprise",
        module="kpi_kit.notify.drivers.apprise",
        forms={"apprise+ntfys": "apprise+ntfys://ntfy.example.com/topic"},
        extra="notify",
        packages=("apprise",),
    ),
    Driver(
        name="memory",
        purpose="In this process alone, for tests and for a first look",
        module="kpi_kit.notify.drivers.memory",
        forms={"memory": "memory://sms"},
    ),
)
