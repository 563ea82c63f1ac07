"""Downloads that meet a replacement or a removal, and what is left open."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse
from files_support import PNG
from kpi_shared.files.storage import Files

pytestmark = pytest.mark.anyio

HEADERS = {"Content-Type": "image/png"}


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
async def test_a_download_that_meets_a_replacement_gives_the_new_file(
    client: httpx.AsyncClient, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.put("/things/1/photo", content=PNG, headers=HEADERS)
    open_file, changes = files.open, [client.put("/things/1/photo", content=b"GIF89a", headers=HEADERS)]

    async def change_first(key: str) -> Any:
        if changes:
            await changes.pop()
        return await open_file(key)

    monkeypatch.setattr(files, "open", change_first)
    response = await client.get("/things/1/photo")
    assert (response.status_code, response.content) == (200, b"GIF89a")
    assert response.headers["content-type"] == "image/gif"
    changes.append(client.delete("/things/1/photo"))
    assert (await client.get("/things/1/photo")).json()["type"] == "file-not-found"


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
async def test_a_file_that_is_removed_before_its_first_chunk_is_sent_is_complete(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.put("/things/1/photo", content=PNG, headers=HEADERS)
    respond, removals = StreamingResponse.__call__, [client.delete("/things/1/photo")]

    async def remove_first(self: StreamingResponse, *arguments: Any) -> None:
        if removals:
            await removals.pop()
        await respond(self, *arguments)

    monkeypatch.setattr(StreamingResponse, "__call__", remove_first)
    response = await client.get("/things/1/photo")
    assert (response.status_code, response.content, removals) == (200, PNG, [])


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
async def test_a_download_leaves_no_file_open(
    client: httpx.AsyncClient, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.put("/things/1/photo", content=PNG, headers=HEADERS)
    open_file, opened = files.open, []

    async def keep(key: str) -> Any:
        opened.append(await open_file(key))
        return opened[-1]

    async def leave(*_arguments: object) -> None:
        raise RuntimeError("the client has left")

    monkeypatch.setattr(files, "open", keep)
    assert (await client.get("/things/1/photo")).content == PNG
    assert (await client.head("/things/1/photo")).status_code == 200
    monkeypatch.setattr(StreamingResponse, "stream_response", leave)
    await client.get("/things/1/photo")
    assert [file.is_closed for file in opened] == [True] * 3


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
async def test_a_file_that_cannot_be_read_is_503(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await client.put("/things/1/photo", content=PNG, headers=HEADERS)
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    (tmp_path / "files").write_bytes(b"")
    response = await client.get("/things/1/photo")
    assert (response.status_code, response.json()["type"]) == (503, "files-unavailable")
