"""Errors about webhooks."""

from kpi_shared.errors import InvalidRequestError, ProblemError


class WebhookNotFoundError(ProblemError):
    status = 404
    type = "webhook-not-found"
    title = "There is no such webhook"


class WebhookLimitError(ProblemError):
    status = 409
    type = "too-many-webhooks"
    title = "There are as many webhooks as this installation allows: delete one first"


class RefusedUrlError(InvalidRequestError):
    """Nothing may be sent to this URL: the reason is for the admin who gave it."""

    def __init__(self, reason: str) -> None:
        error = {"pointer": "#/body/url", "detail": reason, "type": "url_refused"}
        super().__init__(f"#/body/url: {reason}", errors=[error])
