"""What holds for every field whose value is uploaded."""

from kpi_shared.testing.resources import Resource, assert_problem, read_row

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
PDF = b"%PDF-1.7\n" + bytes(range(64))
_TYPES = {PNG: "image/png", PDF: "application/pdf"}
_UPLOAD = {"Content-Type": "application/octet-stream"}


async def check_file(rows: Resource, name: str, content: bytes) -> None:
    """A file is uploaded, read, replaced and removed, and goes with its row."""
    row, under = await rows.add(), f"/{name}"
    assert row[name] is None
    assert_problem(await rows.send("GET", row, under=under), 404, "file-not-found")
    shown = await _upload(rows, row, under, content)
    assert (shown[name]["media_type"], shown[name]["size"]) == (_TYPES[content], len(content))
    assert read_row(await rows.send("GET", row)) == shown
    read = await rows.send("GET", row, under=under)
    assert (read.status_code, read.content) == (200, content)
    again = await rows.send("GET", row, under=under, headers={"If-None-Match": read.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await _upload(rows, row, under, content)
    assert other[name]["etag"] != shown[name]["etag"]
    assert (await rows.send("DELETE", row, under=under)).status_code == 204
    assert_problem(await rows.send("GET", row, under=under), 404, "file-not-found")
    assert read_row(await rows.send("GET", row))[name] is None


async def _upload(rows: Resource, row: dict[str, object], under: str, content: bytes) -> dict[str, dict[str, object]]:
    return read_row(await rows.send("PUT", row, under=under, content=content, headers=_UPLOAD))


async def check_file_refusals(rows: Resource, name: str, *, most: int, is_image: bool) -> None:
    """An empty file, one that is too large, and what is no image where there should be one."""
    row, under = await rows.add(), f"/{name}"
    beginning = PNG if is_image else PDF
    refused = [(b"", 422, "empty-file"), (beginning + bytes(most), 413, "file-too-large")]
    refused += [(b"<svg>", 415, "not-an-image")] if is_image else []
    for content, status, slug in refused:
        response = await rows.send("PUT", row, under=under, content=content, headers=_UPLOAD)
        assert_problem(response, status, slug)
    assert read_row(await rows.send("GET", row))[name] is None


async def check_file_rights(rows: Resource, name: str, account: str, expected: str) -> None:
    """``200 200 204``: of uploading, downloading and removing, on a row of the usual writer's."""
    row, under, by = await rows.add(), f"/{name}", getattr(rows.accounts, account)
    await _upload(rows, row, under, PNG)
    responses = [
        await rows.send("PUT", row, by=by, under=under, content=PNG, headers=_UPLOAD),
        await rows.send("GET", row, by=by, under=under),
        await rows.send("DELETE", row, by=by, under=under),
    ]
    assert " ".join(str(response.status_code) for response in responses) == expected
