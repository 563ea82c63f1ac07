"""The drivers of ``mail``."""

from kpi_kit.drivers import Driver

# What a mail itself needs, with any driver: templates, and the ASCII form of domains.
_MAIL = ("email_validator", "jinja2")

DRIVERS = (
    Driver(
        name="smtp",
        purpose="A mail server, with STARTTLS or TLS",
        module="kpi_kit.mail.drivers.smtp",
        forms={"smtp": "smtp://user:password@host:port", "smtps": "smtps://user:password@host:port"},
        options=("starttls",),
        extra="mail",
        packages=("aiosmtplib", *_MAIL),
    ),
    Driver(
        name="ses",
        purpose="Amazon SES",
        module="kpi_kit.mail.drivers.ses",
        forms={"ses": "ses://eu-west-1"},
        options=("endpoint", "configuration_set"),
        extra="mail-ses",
        packages=("boto3", *_MAIL),
    ),
    Driver(
        name="sendgrid",
        purpose="SendGrid, by its HTTP API",
        module="kpi_kit.mail.drivers.sendgrid",
        forms={"sendgrid": "sendgrid://:key@api.sendgrid.com"},
        extra="mail-http",
        packages=("httpx", *_MAIL),
    ),
    Driver(
        name="mailgun",
        purpose="Mailgun, by its HTTP API",
        module="kpi_kit.mail.drivers.mailgun",
        forms={"mailgun": "mailgun://:key@api.mailgun.net/mg.example.com"},
        extra="mail-http",
        packages=("httpx", *_MAIL),
    ),
    Driver(
        name="file",
        purpose="Files that mail programs can open, for development",
        module="kpi_kit.mail.drivers.folder",
        forms={"file": "file:///folder"},
        extra="mail",
        packages=_MAIL,
    ),
    Driver(
        name="memory",
        purpose="In this process, for development",
        module="kpi_kit.mail.drivers.memory",
        forms={"memory": "memory://"},
        extra="mail",
        packages=_MAIL,
    ),
)
