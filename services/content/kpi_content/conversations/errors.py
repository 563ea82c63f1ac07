"""The problems of requests about conversations and their members."""

from kpi_shared.errors import ForbiddenError, InvalidRequestError, ProblemError


class NothingHereError(ProblemError):
    """The base of what a caller who is no member gets: the response does not disclose whether the thing exists."""

    status = 404

    def __init__(self) -> None:
        # A cache may store a 404 (RFC 9110, 15.5.5), and a member must not get another client's response.
        super().__init__(headers={"Cache-Control": "private, no-cache", "Vary": "Authorization"})


class ConversationNotFoundError(NothingHereError):
    """No such conversation exists, or the caller is not one of its members."""

    type = "conversation-not-found"
    title = "The conversation does not exist"


class ReadOnlyMemberError(ForbiddenError):
    type = "read-only-member"
    title = "Readers cannot write messages"


class NotAnOwnerError(ForbiddenError):
    type = "not-an-owner"
    title = "Only an owner of the conversation may do this"


class MemberNotFoundError(NothingHereError):
    type = "member-not-found"
    title = "The conversation has no such member"


class AlreadyMemberError(ProblemError):
    status = 409
    type = "already-a-member"
    title = "The account is a member of the conversation already"


class MemberLimitError(ProblemError):
    status = 409
    type = "too-many-members"
    title = "The conversation has the maximum number of members: remove one first"


class LastOwnerError(ProblemError):
    status = 409
    type = "last-owner"
    title = "A conversation keeps at least one owner: make another member an owner first"


class UnknownUserError(InvalidRequestError):
    type = "unknown-user"
    title = "There is no such account, or this service does not know it yet: try again in a moment"

    def __init__(self, field: str) -> None:
        """``field`` named it."""
        super().__init__(
            errors=[{"pointer": f"#/body/{field}", "detail": "is not a known account", "type": "unknown_user"}]
        )
