"""Things with two files, in endpoints as a generated resource has them."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from fastapi import Depends, Request, Response
from kpi_shared.database import DatabaseOfApp, DirectConnection, DirectWriter
from kpi_shared.database.names import named_metadata
from kpi_shared.errors import ForbiddenError
from kpi_shared.files.fields import FileField
from kpi_shared.files.models import check_file
from kpi_shared.files.schemas import FilePublic
from kpi_shared.files.storage import DiscardedFiles, FilesOfApp
from kpi_shared.http.media_types import Router
from kpi_shared.parts import Part
from kpi_shared.records.errors import RowNotFoundError
from kpi_shared.records.models import row_id, write_time
from kpi_shared.records.repository import Records
from kpi_shared.records.responses import write_response
from kpi_shared.settings import ServiceSettings
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 100
MOST = 3 * 1024 * 1024


class Table(SQLModel, registry=registry(metadata=named_metadata())):
    pass


class Thing(Table, table=True):
    __tablename__ = "things"
    __table_args__ = (check_file("photo"), check_file("manual"))

    id: int | None = row_id()
    photo: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    manual: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    updated_at: Any = write_time()


class ThingPublic(BaseModel):
    id: int
    photo: FilePublic | None
    manual: FilePublic | None


class ThingNotFoundError(RowNotFoundError):
    type = "thing-not-found"
    title = "The thing does not exist"


things = Records(Thing, ThingPublic, missing=ThingNotFoundError)
photo = FileField(things, "things", "photo", most=MOST, images_only=True)
manual = FileField(things, "things", "manual", most=1000)
router = Router(prefix="/things")


async def _change(connection: DirectConnection, *, thing_id: int, changes: Mapping[str, Any], is_owner: bool) -> Any:
    await things.lock(connection, thing_id)
    if not is_owner:
        raise ForbiddenError
    return await things.change(connection, thing_id, changes)


async def _caller(request: Request) -> bool:
    return request.headers.get("x-caller") != "stranger"


IsOwner = Annotated[bool, Depends(_caller)]


def _add_endpoints(field: FileField, name: str) -> None:
    @router.put(f"/{{thing_id}}/{name}", responses=field.errors, openapi_extra=field.upload)
    async def upload(
        request: Request, thing_id: int, is_owner: IsOwner, files: FilesOfApp, database: DatabaseOfApp
    ) -> Response:
        change = partial(_change, thing_id=thing_id, is_owner=is_owner)
        return write_response(await field.replace(request, files, database, row_id=thing_id, change=change))

    @router.get(f"/{{thing_id}}/{name}")
    async def download(request: Request, thing_id: int, files: FilesOfApp, database: DatabaseOfApp) -> Response:
        async with database.direct() as connection:
            row = await things.get_or_raise(connection, thing_id)
        return await field.send(request, files, row)

    @router.delete(f"/{{thing_id}}/{name}", status_code=204)
    async def remove(thing_id: int, is_owner: IsOwner, files: FilesOfApp, database: DatabaseOfApp) -> None:
        change = partial(_change, thing_id=thing_id, is_owner=is_owner)
        await field.remove(files, database, row_id=thing_id, change=change)


_add_endpoints(photo, "photo")
_add_endpoints(manual, "manual")


@router.delete("/{thing_id}", status_code=204)
async def delete_thing(
    thing_id: int, files: FilesOfApp, discarded: DiscardedFiles, connection: DirectWriter, fails: bool = False
) -> None:
    photo.discard(await things.lock(connection, thing_id), files, discarded)
    await things.remove(connection, thing_id)
    if fails:
        raise ForbiddenError


class Settings(ServiceSettings):
    part: ClassVar[Part] = Part("sample", "package_that_is_not_there", 1)
