"""What clients send about a user, and what they are shown."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Self

from kpi_shared.caller import Role
from kpi_shared.integers import Decimal
from pydantic import BaseModel, StrictBool, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.accounts.fields import Bio, Email, FullName, GivenPassword, Username
from kpi_auth.accounts.filters import CURSOR_PATTERN, Sort, UserFilter

MAX_SKIP = 10_000
# What users may set of themselves. Their e-mail address is theirs too, but only by way of its confirmation.
OWN_FIELDS = ("username", "full_name", "bio")

# The replacement character is what becomes of bytes in an address that are not UTF-8.
Search = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^\x00\uFFFD]*$")]
CursorText = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]


# What is shown is plain pydantic: a list makes up to a hundred of these.
class UserPublic(BaseModel):
    """What any signed-in user sees of another."""

    model_config = {"from_attributes": True}

    id: int
    username: str
    full_name: str | None
    bio: str | None
    created_at: datetime


class UserPrivate(UserPublic):
    """What users see of themselves, and admins of everyone. Only admins meet one with a ``deleted_at``."""

    email: str | None
    email_verified: bool
    role: Role
    is_active: bool
    updated_at: datetime
    deleted_at: datetime | None


class PublicPage(BaseModel):
    """Some users, and the cursor of those after them, or null at the end."""

    items: list[UserPublic]
    next: str | None


class PrivatePage(BaseModel):
    """The same as admins see it."""

    items: list[UserPrivate]
    next: str | None


class CountedPublicPage(PublicPage):
    """The same with the number of all users of the list."""

    total: int


class CountedPrivatePage(PrivatePage):
    """As admins see it."""

    total: int


UserPage = CountedPrivatePage | PrivatePage | CountedPublicPage | PublicPage


class UserQuery(SQLModel):
    """What can be asked of the list of users."""

    limit: Annotated[Decimal, Field(ge=1, le=100, description="How many users a page has at most")] = 10
    skip: Annotated[
        Decimal, Field(ge=0, le=MAX_SKIP, description="The number of users to skip (not with a cursor)")
    ] = 0
    cursor: Annotated[CursorText | None, Field(description="The next of the page before")] = None
    total: Annotated[bool, Field(description="Count all users of the list too")] = False
    search: Annotated[
        Search | None, Field(description="The beginning of a username, for admins also of an e-mail address")
    ] = None
    sort: Annotated[Sort, Field(description="By the time of registration, or by name")] = Sort.NEW
    role: Annotated[Role | None, Field(description="Only users of this role (admins)")] = None
    is_active: Annotated[bool | None, Field(description="Only active users, or only deactivated ones (admins)")] = None
    deleted: Annotated[bool | None, Field(description="Deleted users instead of the others (admins)")] = None

    @property
    def admins_only(self) -> list[str]:
        """The filters that were used and are an admin's alone."""
        return [name for name in ("role", "is_active", "deleted") if getattr(self, name) is not None]

    @property
    def filter(self) -> UserFilter:
        # Names and addresses are stored in this form.
        search = unicodedata.normalize("NFKC", self.search or "").strip().lower()
        return UserFilter(self.sort, search or None, self.role, self.is_active, deleted=bool(self.deleted))


class UserReplace(SQLModel):
    """The whole of what users choose of themselves; an admin may set the rest with it, which otherwise stays."""

    model_config = {"extra": "forbid"}

    username: Username
    full_name: FullName | None = None
    bio: Bio | None = None
    # The defaults only make the fields optional: ``changes`` leaves out what was not sent.
    email: Email = Field(default_factory=str)
    role: Role = Field(default_factory=lambda: Role.USER)
    is_active: StrictBool = Field(default_factory=bool)

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(include={*self.model_fields_set, *OWN_FIELDS})


class UserUpdate(SQLModel):
    """Some of a user. What is left out stays as it is; null clears full_name and bio."""

    model_config = {"extra": "forbid", "json_schema_extra": {"minProperties": 1}}

    # As above.
    username: Username = Field(default_factory=str)
    full_name: FullName | None = None
    bio: Bio | None = None
    email: Email = Field(default_factory=str)
    role: Role = Field(default_factory=lambda: Role.USER)
    is_active: StrictBool = Field(default_factory=bool)

    @model_validator(mode="after")
    def _require_a_change(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "At least one field is needed")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class Deletion(SQLModel):
    """Users show their password once more before they delete themselves; an admin needs none for another."""

    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    password: GivenPassword | None = None
