"""What can be wrong with a mail, and with sending any."""

from kpi_shared.errors import ProblemError


class MailNotFoundError(ProblemError):
    status = 404
    type = "mail-not-found"
    title = "There is no such mail"


class MailNotRetriableError(ProblemError):
    status = 409
    type = "mail-not-retriable"
    title = "Only a dead mail that still means something can be sent again"


class MailNotConfiguredError(ProblemError):
    status = 503
    type = "mail-not-configured"
    title = "This server sends no mail"
