"""The document says who may call each operation, from the dependencies that check it."""

from typing import Any

from fastapi import APIRouter, FastAPI
from kpi_shared.http.openapi import ANONYMOUS, install_openapi
from kpi_shared.security import (
    AdminAccess,
    OptionalReadAccess,
    OptionalWriteAccess,
    PersonAccess,
    ReadAccess,
    WriteAccess,
)

router = APIRouter()


@router.get("/nothing")
async def need_nothing() -> None:
    pass


@router.get("/optional-read")
async def take_reader(_caller: OptionalReadAccess) -> None:
    pass


@router.get("/optional-write", openapi_extra=ANONYMOUS)
async def take_writer(_caller: OptionalWriteAccess) -> None:
    pass


@router.get("/read")
async def need_reader(_caller: ReadAccess) -> None:
    pass


@router.get("/write")
async def need_writer(_caller: WriteAccess) -> None:
    pass


@router.get("/admin")
async def need_admin(_caller: AdminAccess) -> None:
    pass


@router.get("/person")
async def need_person(_caller: PersonAccess) -> None:
    pass


@router.get("/two")
async def need_two(_reader: ReadAccess, _admin: AdminAccess) -> None:
    pass


def describe() -> dict[str, Any]:
    app = FastAPI()
    app.include_router(router)
    install_openapi(app)
    return app.openapi()


def test_each_right_is_in_the_document_and_of_two_the_stricter() -> None:
    access = {path: item["get"]["x-access"] for path, item in describe()["paths"].items()}
    assert access == {
        "/nothing": "public",
        "/optional-read": "public",
        "/optional-write": "public-write",
        "/read": "read",
        "/write": "write",
        "/admin": "admin",
        "/person": "person",
        "/two": "admin",
    }


def test_the_names_by_which_rights_are_passed_on_are_not_in_the_document() -> None:
    document = describe()
    assert sorted(document["components"]["securitySchemes"]) == ["apiKey", "password"]
    security = {path: item["get"].get("security", []) for path, item in document["paths"].items()}
    both = [{"password": []}, {"apiKey": []}]
    assert security == {
        "/nothing": [],
        "/optional-read": [{}, *both],
        "/optional-write": [],
        "/read": both,
        "/write": both,
        "/admin": both,
        "/person": [{"password": []}],
        "/two": both,
    }
