"""The problems of requests about messages."""

from kpi_shared.errors import ForbiddenError, InvalidRequestError

from kpi_content.conversations.errors import NothingHereError


class MessageNotFoundError(NothingHereError):
    type = "message-not-found"
    title = "The conversation has no such message"


class NotYourMessageError(ForbiddenError):
    type = "not-your-message"
    title = "Only its author and the owners of the conversation may delete a message"


class NumberNotGivenError(InvalidRequestError):
    type = "number-not-given"
    title = "No message has this number yet"

    def __init__(self, newest: int) -> None:
        detail = f"The newest number is {newest}"
        super().__init__(detail, errors=[{"pointer": "#/body/number", "detail": detail, "type": "not_given"}])
