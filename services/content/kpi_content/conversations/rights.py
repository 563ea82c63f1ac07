"""What the roles of members allow."""

from kpi_content.conversations.errors import ConversationNotFoundError, NotAnOwnerError, ReadOnlyMemberError
from kpi_content.conversations.models import MemberRole


def require_member(role: MemberRole | None) -> None:
    if role is None:
        raise ConversationNotFoundError


def require_owner(role: MemberRole | None) -> None:
    require_member(role)
    if role is not MemberRole.OWNER:
        raise NotAnOwnerError


def require_writer(role: MemberRole | None) -> None:
    require_member(role)
    if role is MemberRole.READER:
        raise ReadOnlyMemberError
