"""Reports of the processes that hold keys, and the requests of operators."""

from typing import Annotated, Literal, Self

from kpi_shared.key_ring import Purpose
from kpi_shared.token_keys.reports import Holding
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlmodel import SQLModel

_MOST_KEYS = 20
Kid = Annotated[str, StringConstraints(pattern=r"^k4\.(lid|pid)\.[A-Za-z0-9_-]{44}$")]


class HolderReport(BaseModel):
    model_config = ConfigDict(extra="forbid")

    part: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    instance: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    purpose: Purpose
    keys: Annotated[dict[Kid, Literal["next", "active", "verify-only"]], Field(max_length=_MOST_KEYS)]

    @property
    def holding(self) -> Holding:
        return Holding(self.part, self.instance, self.purpose, dict(self.keys))


class KeysCommand(SQLModel):
    """``holders`` lists the processes and their keys, ``kill`` ends a key for ever."""

    model_config = {"extra": "forbid"}

    action: Literal["holders", "kill"]
    kid: Kid | None = None

    @model_validator(mode="after")
    def _require_kid(self) -> Self:
        if (self.action == "kill") != (self.kid is not None):
            raise ValueError("kill needs the kid of a key, and holders none")
        return self
