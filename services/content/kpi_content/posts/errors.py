"""The problems of requests about posts."""

from kpi_shared.errors import ForbiddenError, ProblemError


class PostNotFoundError(ProblemError):
    """No such post exists, or it is another user's draft. The response does not disclose which."""

    status = 404
    type = "post-not-found"
    title = "The post does not exist"

    def __init__(self) -> None:
        # A cache may store a 404 (RFC 9110, 15.5.5), and the draft's owner must not get another client's response.
        super().__init__(headers={"Cache-Control": "no-cache", "Vary": "Authorization"})


class NotYourPostError(ForbiddenError):
    type = "not-your-post"
    title = "Only the owner may change a post"
