"""docs/kit.md as a reader follows it in a checkout: nothing is edited but what the page says."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from generator_mixes import PRODUCT
from generator_support import Clone, sign_in
from kit_page import SERVICE, Page
from kpi_shared.testing.process import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def clone(request: pytest.FixtureRequest) -> Iterator[Clone]:
    if not request.config.getoption("--generator"):
        pytest.skip("with --generator only: tests/test_kit_page.py runs the example")
    with tempfile.TemporaryDirectory(prefix="kpi-kit-page-", ignore_cleanup_errors=True) as name:
        yield Clone.make(Path(name).resolve() / "clone")


def test_the_example_is_made_checked_and_served(clone: Clone, tmp_path: Path) -> None:
    page = Page.read()
    for words in page.pieces:
        clone.kpi("make", *words)
    page.write_files(clone.root)
    settings = clone.root / SERVICE / "config" / ".env"
    settings.write_text(settings.read_text().replace("/tmp/parcels", str(tmp_path)))  # noqa: S108 the page's
    for command in page.following:
        clone.run(*command)
    folder = f"--basetemp={clone.root.parent / 'pytest'}"
    clone.run(".venv/bin/pytest", "-q", "-p", "no:cacheprovider", folder, f"{SERVICE}/tests")
    with clone.running() as client:
        clone.kpi("db", "seed", "--count", "3")
        send_a_parcel(client, sign_in(client, PRODUCT.writer), tmp_path)


def send_a_parcel(client: httpx.Client, sender: dict[str, str], folder: Path) -> None:
    body = {"recipient": {"address": "Seestrasse 1, Zurich", "email": "anna@example.com"}, "kilograms": 2}
    made = client.post("/parcels", json=body, headers=sender)
    assert (made.status_code, made.json()) == (201, {"id": 1, "price_cents": 2900})
    wait_until(lambda: bool(client.get("/notifications", headers=sender).json()["items"]))
    assert (folder / "files" / "labels" / "1.txt").read_text() == "To: Seestrasse 1, Zurich\n"
    wait_until(lambda: len(read_mails(folder)) == 2)
    (receipt,) = (mail for mail in read_mails(folder) if "Its pick-up code is " in mail)
    code = receipt.partition("Its pick-up code is ")[2].strip().removesuffix(".")
    address = "/parcels/1/pickup"
    assert client.post(address, headers={**sender, "X-Pickup-Code": "a-guess"}).json()["type"] == "wrong-code"
    assert client.post(address, headers={**sender, "X-Pickup-Code": code}).status_code == 204


def read_mails(folder: Path) -> list[str]:
    return [file.read_text() for file in (folder / "mails").glob("*.eml")]
