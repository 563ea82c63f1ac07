"""What can be wrong with a post."""

from kpi_shared.errors import ForbiddenError, ProblemError


class PostNotFoundError(ProblemError):
    """There is none, or it is someone else's draft: the answer does not tell which."""

    status = 404
    type = "post-not-found"
    title = "There is no such post"

    def __init__(self) -> None:
        # A cache may keep a 404 (RFC 9110, 15.5.5), and the draft's owner must not be shown a stranger's.
        super().__init__(headers={"Cache-Control": "no-cache", "Vary": "Authorization"})


class NotYourPostError(ForbiddenError):
    type = "not-your-post"
    title = "Only its owner may change a post"
