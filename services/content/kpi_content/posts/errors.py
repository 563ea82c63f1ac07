"""The problems of requests about posts."""

from kpi_shared.errors import ForbiddenError
from kpi_shared.records.errors import RowNotFoundError


class PostNotFoundError(RowNotFoundError):
    """No such post exists, or it is another user's draft. The response does not disclose which."""

    type = "post-not-found"
    title = "The post does not exist"


class NotYourPostError(ForbiddenError):
    type = "not-your-post"
    title = "Only the owner may change a post"
