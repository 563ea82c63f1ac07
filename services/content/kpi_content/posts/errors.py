"""What can be wrong with a post."""

from kpi_shared.errors import ForbiddenError, ProblemError


class PostNotFoundError(ProblemError):
    """There is none, or it is someone else's draft: the answer does not tell which."""

    status = 404
    type = "post-not-found"
    title = "There is no such post"


class NotYourPostError(ForbiddenError):
    type = "not-your-post"
    title = "Only its owner may change a post"
