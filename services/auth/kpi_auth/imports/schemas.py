"""What an import of accounts reads: the options on the first line, and one account on each further one."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from kpi_shared.caller import Role
from kpi_shared.database import MAX_ID
from kpi_shared.fields.emails import Email
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kpi_auth.accounts.fields import MAX_USERNAME, normalize_name

_TRUE = {"true", "t", "yes", "y", "1"}
_FALSE = {"false", "f", "no", "n", "0"}
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
# Clocks of two machines differ.
_LEEWAY = timedelta(days=1)
# Django's mark of an account without a password.
_UNUSABLE = "!"
# Seconds or milliseconds since 1970; no form of a date has as many digits alone.
_UNIX_TIME = re.compile(r"[0-9]{9,13}(\.[0-9]+)?", re.ASCII)
# Seconds of this size are after the year 2600.
_LEAST_MILLISECONDS = 2e10


def _is_given(name: str, value: object) -> bool:
    """A column of CSV that is empty has no value, and a mark for no password is no hash."""
    if isinstance(value, str):
        return bool(value) and not (name == "hash" and value.startswith(_UNUSABLE))
    return value is not None


def _read_time(value: object) -> datetime:
    """A time as PostgreSQL and others write it: with a blank for the T, without a zone for UTC, or as Unix time."""
    if isinstance(value, datetime):
        return value
    word = str(value).strip()
    try:
        if _UNIX_TIME.fullmatch(word):
            seconds = float(word)
            return datetime.fromtimestamp(seconds / (1000 if seconds > _LEAST_MILLISECONDS else 1), UTC)
        time = datetime.fromisoformat(word)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("time", "a time such as 2026-01-31T12:00:00Z is required") from None


def _check_time(time: datetime) -> datetime:
    if not _FIRST <= time <= datetime.now(UTC) + _LEEWAY:
        raise PydanticCustomError("time", "a time between 1970 and now is required")
    return time


def _read_verified(value: object) -> object:
    """A truth value, or the time since when it is true."""
    word = str(value).strip().lower()
    if isinstance(value, bool) or word in _TRUE | _FALSE:
        return word in _TRUE
    return _check_time(_read_time(value))


def _read_role(value: object) -> object:
    """The name of a role, or whether the account is an admin."""
    word = str(value).strip().lower()
    return Role.ADMIN if word in _TRUE else Role.USER if word in _FALSE else word


_Time = Annotated[datetime, BeforeValidator(_read_time)]


class ImportOptions(BaseModel):
    """``lines`` says how many follow: fewer are an input that was cut off, of which nothing is stored.

    ``keep_going`` stores the valid lines of an input with invalid ones; ``admins`` allows the role admin.
    """

    model_config = ConfigDict(extra="forbid")

    lines: Annotated[int, Field(ge=0)]
    dry_run: bool = False
    keep_going: bool = False
    admins: bool = False


class ImportedAccount(BaseModel):
    """One account. ``line`` is where it stands in the file of the caller, who also says if it could not read that."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    line: Annotated[int, Field(ge=1, le=MAX_ID)]
    unreadable: str | None = None
    # Names of other systems may be shorter than the three characters that registration requires.
    username: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_USERNAME, pattern=r"^[A-Za-z0-9_.-]+$"),
            BeforeValidator(normalize_name),
        ]
        | None
    ) = None
    email: Email | None = None
    hash: str | None = None
    created_at: _Time | None = None
    role: Annotated[Role, BeforeValidator(_read_role)] = Role.USER
    verified: Annotated[bool | datetime, BeforeValidator(_read_verified)] = False

    @model_validator(mode="before")
    @classmethod
    def _leave_out_blanks(cls, values: Any) -> Any:  # noqa: ANN401 pydantic's form
        if not isinstance(values, dict):
            return values
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in stripped.items() if _is_given(name, value)}

    @field_validator("created_at")
    @classmethod
    def _check_created(cls, time: datetime | None) -> datetime | None:
        return None if time is None else _check_time(time)

    @model_validator(mode="after")
    def _require_name(self) -> Self:
        if self.unreadable is None and self.username is None and self.email is None:
            raise PydanticCustomError("name", "a username or an e-mail address is required")
        if self.verified is not False and self.email is None:
            raise PydanticCustomError("verified", "an account without an e-mail address cannot have a verified one")
        return self

    @property
    def verified_at(self) -> datetime | None:
        """If only the fact is known, the address is taken to be verified when the account was created."""
        if isinstance(self.verified, bool):
            return (self.created_at or datetime.now(UTC)) if self.verified else None
        return self.verified


class Totals(BaseModel):
    """The result: how many lines were read, and what became of them. Without ``stored`` nothing was changed."""

    read: int = 0
    added: int = 0
    unchanged: int = 0
    refused: int = 0
    # Of those that are added.
    without_password: int = 0
    stored: bool = False
