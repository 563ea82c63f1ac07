"""What can be wrong with a mail that an admin asks for."""

from kpi_shared.errors import ProblemError


class MailNotFoundError(ProblemError):
    status = 404
    type = "mail-not-found"
    title = "There is no such mail"


class MailNotRetriableError(ProblemError):
    status = 409
    type = "mail-not-retriable"
    title = "Only a dead mail that still means something can be sent again"
