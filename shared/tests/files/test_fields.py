"""Endpoints of a field that is a file, as a generated resource has them, over a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from files_support import MOST, PNG
from kpi_kit.storage import Storage
from kpi_shared.files.housekeeping import remove_orphans
from kpi_shared.files.storage import Files
from sqlalchemy import text

pytestmark = pytest.mark.anyio


async def _download(client: httpx.AsyncClient, path: str) -> httpx.Response:
    response = await client.get(path)
    if response.status_code == 307:
        assert response.headers["cache-control"] == "no-store"
        async with httpx.AsyncClient() as outside:
            return await outside.get(response.headers["location"])
    return response


async def test_an_image_is_uploaded_shown_and_removed(client: httpx.AsyncClient, keys: Any) -> None:
    uploaded = await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/jpeg"})
    assert uploaded.status_code == 200, uploaded.text
    shown = uploaded.json()["photo"]
    assert shown == {"media_type": "image/png", "size": len(PNG), "etag": shown["etag"]}
    assert await keys() == [f"sample/things/photo/{shown['etag']}"]
    response = await _download(client, "/things/1/photo")
    assert response.content == PNG
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-disposition"] == "inline"
    unchanged = await client.get("/things/1/photo", headers={"If-None-Match": f'"{shown["etag"]}"'})
    assert unchanged.status_code == 304
    assert (await client.delete("/things/1/photo")).status_code == 204
    assert await keys() == []
    assert (await client.delete("/things/1/photo")).json()["type"] == "file-not-found"
    assert (await client.get("/things/1/photo")).json()["type"] == "file-not-found"


async def test_what_is_no_image_is_to_be_saved(client: httpx.AsyncClient) -> None:
    page = b"<!doctype html><script>alert(1)</script>"
    assert (await client.put("/things/1/manual", content=page, headers={"Content-Type": "text/html"})).is_success
    response = await client.get("/things/1/manual")
    if response.status_code == 200:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in response.headers["content-security-policy"]
        assert response.headers["content-length"] == str(len(page))
        head = await client.head("/things/1/manual")
        assert (head.status_code, head.content) == (200, b"")
    response = await _download(client, "/things/1/manual")
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == "attachment"


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("photo", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not-an-image"),
        ("photo", b"", 422, "empty-file"),
        ("photo", PNG + b"\x00" * MOST, 413, "body-too-large"),
        ("manual", b"a" * 1001, 413, "file-too-large"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    client: httpx.AsyncClient, keys: Any, path: str, body: bytes, status: int, problem: str
) -> None:
    response = await client.put(f"/things/1/{path}", content=body, headers={"Content-Type": "image/png"})
    assert (response.status_code, response.json()["type"]) == (status, problem)
    assert await keys() == []
    assert (await client.get(f"/things/1/{path}")).status_code == 404


async def test_a_larger_file_than_other_bodies_is_taken_with_and_without_a_length(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 500_000):
            yield body[at : at + 500_000]

    body = PNG + b"\x01" * (2 * 1024 * 1024)
    for content in (body, pieces()):
        response = await client.put("/things/1/photo", content=content, headers={"Content-Type": "image/png"})
        assert response.json()["photo"]["size"] == len(body), response.text
    too_long = httpx.Request(
        "PUT", "http://sample/things/1/photo", content=_endless(), headers={"Content-Type": "image/png"}
    )
    assert (await client.send(too_long)).status_code == 413


async def _endless() -> AsyncIterator[bytes]:
    yield PNG
    for _ in range(1000):
        yield b"\x00" * 100_000


async def test_a_new_file_takes_the_place_of_the_old_one(client: httpx.AsyncClient, keys: Any) -> None:
    first = (await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})).json()
    second = (await client.put("/things/1/photo", content=b"GIF89a...", headers={"Content-Type": "image/png"})).json()
    assert first["photo"]["etag"] != second["photo"]["etag"]
    assert await keys() == [f"sample/things/photo/{second['photo']['etag']}"]


async def test_who_may_not_change_the_row_stores_nothing(client: httpx.AsyncClient, keys: Any, app: FastAPI) -> None:
    headers = {"x-caller": "stranger", "Content-Type": "image/png"}
    before = await _updated_at(app)
    assert (await client.put("/things/1/photo", content=PNG, headers=headers)).status_code == 403
    assert (await client.put("/things/9/photo", content=PNG, headers={"Content-Type": "image/png"})).status_code == 404
    assert await keys() == []
    assert await _updated_at(app) == before


async def _updated_at(app: FastAPI) -> Any:
    async with app.state.database.reading() as connection:
        return await connection.scalar(text("SELECT updated_at FROM things WHERE id = 1"))


async def test_a_file_whose_row_cannot_be_written_is_removed(
    client: httpx.AsyncClient, keys: Any, app: FastAPI
) -> None:
    async with app.state.database.writing() as connection:
        await connection.execute(text("ALTER TABLE things ADD CHECK (photo IS NULL) NOT VALID"))
    response = await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})
    assert response.status_code == 500
    assert await keys() == []


async def test_an_upload_that_is_cancelled_after_its_commit_keeps_the_new_file(
    client: httpx.AsyncClient, app: FastAPI, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})
    delete, is_removing = storage.delete_many, asyncio.Event()

    async def delete_slowly(keys: Any) -> Any:
        if not is_removing.is_set():
            is_removing.set()
            await asyncio.Event().wait()
        return await delete(keys)

    monkeypatch.setattr(storage, "delete_many", delete_slowly)
    request = client.put("/things/1/photo", content=b"GIF89a", headers={"Content-Type": "image/gif"})
    upload = asyncio.create_task(request)
    await is_removing.wait()
    upload.cancel()
    await asyncio.wait({upload})
    assert (await _download(client, "/things/1/photo")).content == b"GIF89a"
    assert await remove_orphans(app.state.files, app.state.database, age=timedelta(seconds=-5)) == 1


async def test_an_upload_whose_connection_breaks_in_the_commit_keeps_both_files(
    client: httpx.AsyncClient, app: FastAPI, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})
    writing = app.state.database.writing

    @asynccontextmanager
    async def break_after_commit() -> AsyncIterator[Any]:
        async with writing() as connection:
            yield connection
        raise psycopg.OperationalError("the connection is lost")

    transactions = iter([writing(), break_after_commit()])
    monkeypatch.setattr(app.state.database, "writing", partial(next, transactions))
    response = await client.put("/things/1/photo", content=b"GIF89a", headers={"Content-Type": "image/gif"})
    assert response.status_code == 503
    assert len(await keys()) == 2
    assert (await _download(client, "/things/1/photo")).content == b"GIF89a"


async def test_the_file_of_a_deleted_row_is_removed_after_the_commit(client: httpx.AsyncClient, keys: Any) -> None:
    await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})
    assert (await client.delete("/things/1?fails=true")).status_code == 403
    assert len(await keys()) == 1
    assert (await client.delete("/things/1")).status_code == 204
    assert await keys() == []


async def test_housekeeping_removes_files_that_no_row_names(client: httpx.AsyncClient, keys: Any, app: FastAPI) -> None:
    named = (await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})).json()["photo"]
    files: Files = app.state.files

    async def body() -> AsyncIterator[bytes]:
        yield PNG

    for table, field in (("things", "photo"), ("later", "photo"), ("things", "scan")):
        await files.storage.put(files.key_of(table, field, "a" * 22), body())
    assert await remove_orphans(files, app.state.database) == 0
    assert await remove_orphans(files, app.state.database, age=timedelta(seconds=-5)) == 1
    # Of tables that this version does not have, nothing is known.
    kept = {files.key_of(table, field, "a" * 22) for table, field in (("later", "photo"), ("things", "scan"))}
    assert set(await keys()) == {files.key_of("things", "photo", named["etag"]), *kept}


async def test_without_a_store_uploads_are_503(client: httpx.AsyncClient, app: FastAPI) -> None:
    app.state.files = None
    response = await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})
    assert (response.status_code, response.json()["type"]) == (503, "files-unavailable")


async def test_a_store_that_does_not_work_is_503(client: httpx.AsyncClient, app: FastAPI, tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_text("")
    async with Storage.from_url((tmp_path / "no-folder").as_uri()) as storage:
        app.state.files = Files(storage, "sample")
        response = await client.put("/things/1/photo", content=PNG, headers={"Content-Type": "image/png"})
    assert (response.status_code, response.json()["type"]) == (503, "files-unavailable")
