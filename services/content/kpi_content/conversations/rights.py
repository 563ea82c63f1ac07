"""What the roles of members allow."""

from kpi_content.conversations.errors import NotAnOwnerError
from kpi_content.conversations.models import MemberRole


def require_owner(role: MemberRole) -> None:
    if role is not MemberRole.OWNER:
        raise NotAnOwnerError
