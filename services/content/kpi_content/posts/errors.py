"""What can be wrong with a post, or with asking for posts."""

from kpi_shared.errors import ForbiddenError, InvalidRequestError, ProblemError


class PostNotFoundError(ProblemError):
    """There is none, or it is someone else's draft: the answer does not tell which."""

    status = 404
    type = "post-not-found"
    title = "There is no such post"


class NotYourPostError(ForbiddenError):
    type = "not-your-post"
    title = "Only its owner may change a post"


class InvalidCursorError(InvalidRequestError):
    """A cursor that this service did not make, or made for another list."""

    type = "invalid-cursor"
    title = "The cursor does not belong to this list"

    def __init__(self, detail: str = "Take the cursor from this list's own next, or leave it out") -> None:
        super().__init__(detail, errors=[{"pointer": "#/query/cursor", "detail": detail, "type": "cursor"}])
