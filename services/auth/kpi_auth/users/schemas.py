"""The request and response schemas of users."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Self

from kpi_shared.caller import Role
from kpi_shared.fields.emails import Email
from kpi_shared.integers import Decimal
from pydantic import BaseModel, StrictBool, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel

from kpi_auth.accounts.examples import PASSWORD, USERNAME, with_examples
from kpi_auth.accounts.fields import Bio, FullName, GivenPassword, Username
from kpi_auth.accounts.filters import CURSOR_PATTERN, Sort, UserFilter

MAX_SKIP = 10_000
_FULL_NAME, _BIO = "Anna Example", "Reads about bees."
# The fields that users may set themselves. They change their e-mail address by confirming the new one.
OWN_FIELDS = ("username", "full_name", "bio")
# Those of one's own account that an API key may change, too: not how a person signs in, nor what the account may do.
KEY_FIELDS = frozenset({"full_name", "bio"})

# Bytes of a URL that are not UTF-8 are decoded to the replacement character.
Search = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^\x00\uFFFD]*$")]
CursorText = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]


# Plain pydantic models for speed: a page has up to a hundred of these.
class UserPublic(BaseModel):
    """A user as other users see it."""

    model_config = {"from_attributes": True}

    id: int
    username: str
    full_name: str | None
    bio: str | None
    created_at: datetime


class UserPrivate(UserPublic):
    """A user as the user and admins see it. ``deleted_at`` is null except in responses to admins."""

    email: str | None
    email_verified: bool
    role: Role
    is_active: bool
    updated_at: datetime
    deleted_at: datetime | None


class PublicPage(BaseModel):
    """A page of users, and the cursor of the next page, or null on the last page."""

    items: list[UserPublic]
    next: str | None


class PrivatePage(BaseModel):
    """A page of users as admins see them."""

    items: list[UserPrivate]
    next: str | None


class CountedPublicPage(PublicPage):
    """A page with the total number of users in the list."""

    total: int


class CountedPrivatePage(PrivatePage):
    """A page as admins see it, with the total number of users in the list."""

    total: int


UserPage = CountedPrivatePage | PrivatePage | CountedPublicPage | PublicPage


class UserQuery(SQLModel):
    """The query parameters of the list of users."""

    limit: Annotated[Decimal, Field(ge=1, le=100, description="Maximum number of users in the page")] = 10
    skip: Annotated[
        Decimal, Field(ge=0, le=MAX_SKIP, description="Number of users to skip (cannot be combined with cursor)")
    ] = 0
    cursor: Annotated[CursorText | None, Field(description="The value of next from the previous page")] = None
    total: Annotated[bool, Field(description="Also return the total number of users in the list")] = False
    search: Annotated[
        Search | None, Field(description="The beginning of the username; for admins, also of the e-mail address")
    ] = None
    sort: Annotated[Sort, Field(description="Order: newest first, oldest first, or by username")] = Sort.NEW
    role: Annotated[Role | None, Field(description="Only users with this role (admins only)")] = None
    is_active: Annotated[
        bool | None, Field(description="Only active users, or only deactivated users (admins only)")
    ] = None
    deleted: Annotated[bool | None, Field(description="Deleted users instead of existing ones (admins only)")] = None

    @property
    def admin_filters(self) -> list[str]:
        """The filters of the request that only an admin may use."""
        return [name for name in ("role", "is_active", "deleted") if getattr(self, name) is not None]

    @property
    def filter(self) -> UserFilter:
        # Names and addresses are compared in this form.
        search = unicodedata.normalize("NFKC", self.search or "").strip().lower()
        return UserFilter(self.sort, search or None, self.role, self.is_active, deleted=bool(self.deleted))


class UserReplace(SQLModel):
    """All fields that users may set. The others are for admins only, and stay unchanged if they are left out."""

    model_config = {
        "extra": "forbid",
        "json_schema_extra": with_examples({"username": USERNAME, "full_name": _FULL_NAME, "bio": _BIO}),
    }

    username: Username
    full_name: FullName | None = None
    bio: Bio | None = None
    # The defaults only make the fields optional: ``changes`` has no field that was not sent.
    email: Email = Field(default_factory=str)
    role: Role = Field(default_factory=lambda: Role.USER)
    is_active: StrictBool = Field(default_factory=bool)

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(include={*self.model_fields_set, *OWN_FIELDS})


class UserUpdate(SQLModel):
    """The fields to change. Fields that are left out stay unchanged; null clears full_name and bio."""

    model_config = {
        "extra": "forbid",
        "json_schema_extra": {"minProperties": 1, **with_examples({"full_name": _FULL_NAME, "bio": _BIO})},
    }

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
            raise PydanticCustomError("empty", "At least one field is required")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class Deletion(SQLModel):
    """The password of the caller, required to delete one's own account; admins delete other accounts without it."""

    model_config = {
        "extra": "forbid",
        "hide_input_in_errors": True,
        "json_schema_extra": with_examples({"password": PASSWORD}),
    }

    password: GivenPassword | None = None
