"""The problems of mails and of sending them."""

from kpi_shared.errors import ProblemError


class MailNotFoundError(ProblemError):
    status = 404
    type = "mail-not-found"
    title = "There is no such mail"


class MailNotRetriableError(ProblemError):
    status = 409
    type = "mail-not-retriable"
    title = "Only a dead mail whose content still exists and has not expired can be sent again"


class MailNotConfiguredError(ProblemError):
    status = 503
    type = "mail-not-configured"
    title = "This server is not configured to send mail"
