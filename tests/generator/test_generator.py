"""``kpi make resource`` as a new user runs it: what it makes is checked, tested and called, and no line is edited."""

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from generator_mixes import MIXES, PRODUCT, Mix
from generator_support import Clone, sign_in, wait_for_created
from kpi_cli.generate.fields.kinds import KINDS

pytestmark = pytest.mark.e2e

UPLOAD = {"Content-Type": "application/octet-stream"}
RULES = {"required", "nullable", "unique", "index", "max", "min", "ge", "gte", "le", "lte", "gt", "lt"}


def test_the_mixes_have_every_kind_and_rule() -> None:
    fields = [field for mix in MIXES for field in mix.fields]
    assert {re.split("[:(]", field)[1] for field in fields} == {kind.value for kind in KINDS}
    words = {word for field in fields for word in re.findall("[a-z]+", field.partition(":")[2])}
    assert words >= RULES | {"foreign", "default"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's: the tests that run in the clone would close it to PostgreSQL, whose programs are below it."""
    with tempfile.TemporaryDirectory(prefix="kpi-generator-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_a_resource_is_made_tested_served_and_taken_back(
    folder: Path, mix: Mix, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    is_whole = request.config.getoption("--generator")
    if mix is not PRODUCT and not is_whole:
        pytest.skip("with --generator only: one mix shows that the parts fit together")
    clone = Clone.make(folder / "clone")
    if mix.service != "content":
        clone.kpi("make", "service", mix.service)
        clone.run("make", "-s", "install")
        clone.commit(f"Add {mix.service}")
    with clone.running() as client:
        clone.kpi("db", "seed", "--count", "3")
        writer = sign_in(client, mix.writer)
        body = mix.body | ({"post_id": client.get("/posts").json()["items"][0]["id"]} if mix.needs_post else {})
        began = time.monotonic()
        clone.kpi("make", "resource", *mix.arguments)
        made = wait_for_created(client, mix.path, body, writer)
        with capsys.disabled():
            seconds = time.monotonic() - began
            print(f"\n{mix.name}: {seconds:.1f} s from the command to the first 201 through the gateway")  # noqa: T201
        use(client, mix, made, writer)
        clone.check(mix.service, *find_tests(mix), is_whole=is_whole)
        clone.kpi("make", "undo")
        assert clone.changes == ""
        assert client.get(mix.path, headers=writer).status_code == 404


def find_tests(mix: Mix) -> list[str]:
    folder = f"services/{mix.service}/tests"
    return [f"{folder}/{mix.plural}", f"{folder}/test_surface.py", f"{folder}/test_examples.py"]


def use(client: httpx.Client, mix: Mix, made: httpx.Response, writer: dict[str, str]) -> None:
    """Requests through the gateway, as a client would send them."""
    row: dict[str, Any] = made.json()
    address = f"{mix.path}/{row['id']}"
    assert made.headers["Location"].endswith(address)
    assert row | mix.shown == row
    read = client.get(address, headers=writer)
    assert (read.json(), read.headers["ETag"]) == (row, made.headers["ETag"])
    assert client.get(address, headers=writer | {"If-None-Match": read.headers["ETag"]}).status_code == 304
    assert client.get(mix.path, headers=writer).json()["items"] == [row]
    assert client.get(address).status_code == (200 if mix.is_public else 401)
    refused = client.post(mix.path, json={}, headers=writer)
    assert (refused.status_code, refused.json()["type"]) == (422, "invalid-request")
    stranger = sign_in(client, "seed_user_3")
    changed = client.patch(address, json=mix.change, headers=stranger)
    assert changed.status_code == mix.strangers_change
    for name, content in mix.uploads.items():
        assert client.put(f"{address}/{name}", content=content, headers=writer | UPLOAD).is_success
        assert client.get(f"{address}/{name}", headers=writer, follow_redirects=True).content == content
        assert client.get(address, headers=writer).json()[name]["size"] == len(content)
    assert client.delete(address, headers=writer).status_code == 204
    assert client.get(address, headers=writer).status_code == 404
