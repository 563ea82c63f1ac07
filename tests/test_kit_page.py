"""The example of docs/kit.md: a service of its commands and files, in which each of the nine libraries works."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kit_page import Page, make_example
from kit_stand_ins import Carrier, MailServer, run_carrier, run_mail_server
from kpi_kit.crypt import Crypt, InvalidCiphertextError, generate_key
from kpi_shared.key_ring import KeyRing
from kpi_shared.testing.callers import ANNA, BERT, assert_problem, caller
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.postgres import create_database
from kpi_shared.testing.process import free_port, run_command, start_part, wait_until
from kpi_shared.tokens import TokenCodec
from psycopg.rows import dict_row

pytestmark = pytest.mark.e2e
LIBRARIES = {"http", "mail", "cache", "storage", "queue", "events", "notify", "hashing", "crypt"}
ADDRESS, EMAIL = "Anna Muster, Seestrasse 1, Zurich", "anna@example.com"
BODY = {"recipient": {"address": ADDRESS, "email": EMAIL}, "kilograms": 2}


@dataclass(frozen=True)
class Running:
    """The service, what it speaks to, and where it leaves its traces."""

    client: httpx.Client
    carrier: Carrier
    mail: MailServer
    files: Path
    log: Path
    key: str
    database: str
    metrics_port: int

    def read_parcel(self, parcel_id: int) -> dict[str, Any]:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            row = connection.execute("SELECT * FROM parcels WHERE id = %s", [parcel_id]).fetchone()
        assert row is not None
        return row

    def send(self, user: dict[str, str], **headers: str) -> dict[str, int]:
        response = self.client.post("/parcels", json=BODY, headers={**user, **headers})
        assert response.status_code == 201, response.text
        made: dict[str, int] = response.json()
        return made


@pytest.fixture(scope="module")
def running(secret_key: str, worker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("kit")
    service = make_example(folder / "checkout")
    database, key, metrics_port = create_database(f"parcels_{worker}"), generate_key(), free_port()
    files, log = folder / "files", folder / "parcels.log"
    with run_carrier(cents=1250) as carrier, run_mail_server() as mail:
        settings = {
            "PYTHONPATH": str(service),
            "DATABASE_URL": database,
            "PASETO_SECRET_KEY": secret_key,
            "FILES_URL": folder.as_uri(),
            "METRICS_PORT": str(metrics_port),
            "HTTP_URL": carrier.url,
            "MAIL_URL": mail.url,
            "MAIL_FROM": "parcels@example.com",
            "CACHE_URL": "memory://",
            "STORAGE_URL": files.as_uri(),
            "EVENTS_URL": "memory://",
            "HASHING_URL": "argon2id://?time_cost=1&memory_kib=8192",
            "CRYPT_KEYS": json.dumps({"2026": key}),
        }
        run_command("kpi_parcels", "migrate", settings=settings)
        with (
            start_part("kpi_parcels", settings, log=log) as address,
            httpx.Client(base_url=address, timeout=30, trust_env=False) as client,
        ):
            yield Running(client, carrier, mail, files, log, key, database, metrics_port)


@pytest.fixture(scope="module")
def codec(secret_key: str) -> TokenCodec:
    return TokenCodec(KeyRing.local(bytes.fromhex(secret_key)), issuer="kpi-one", audience="kpi-one")


@pytest.fixture(scope="module")
def anna(codec: TokenCodec) -> dict[str, str]:
    return caller(codec, ANNA, "anna").headers


@pytest.fixture(scope="module")
def bert(codec: TokenCodec) -> dict[str, str]:
    return caller(codec, BERT, "bert").headers


def test_the_keys_of_the_page_are_accepted() -> None:
    keys = re.findall(r'"(?:test|2026)": "([\w+/]+=*)"', "".join(Page.read().files.values()))
    assert len(keys) == 2
    for key in keys:
        Crypt({"a": key})


def test_the_price_is_asked_once_and_kept(running: Running, anna: dict[str, str]) -> None:
    asked = len(running.carrier.requests)
    first = running.send(anna, **{"X-Request-ID": "a-request-of-anna"})
    second = running.send(anna)
    assert (first["price_cents"], second["price_cents"]) == (1250, 1250)
    [(path, headers)] = running.carrier.requests[asked:]
    assert (path, headers["x-request-id"]) == ("/prices?kilograms=2", "a-request-of-anna")


def test_the_address_is_stored_encrypted_for_its_owner_alone(running: Running, anna: dict[str, str]) -> None:
    stored = running.read_parcel(running.send(anna)["id"])
    crypt = Crypt({"2026": running.key})
    text = crypt.decrypt(stored["recipient"], associated_data=b"parcels.recipient:%d" % ANNA)
    assert json.loads(text) == BODY["recipient"]
    with pytest.raises(InvalidCiphertextError):
        crypt.decrypt(stored["recipient"], associated_data=b"parcels.recipient:%d" % BERT)


def test_the_label_is_printed_and_the_owner_notified(
    running: Running, anna: dict[str, str], bert: dict[str, str]
) -> None:
    parcel_id = running.send(anna)["id"]
    wait_until(lambda: running.read_parcel(parcel_id)["label"] is not None)
    label = running.files / running.read_parcel(parcel_id)["label"]
    assert label.read_text() == f"To: {ADDRESS}\n"

    def find_notifications(user: dict[str, str]) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = running.client.get("/notifications?limit=100", headers=user).json()["items"]
        return [each for each in listed if each["data"] == {"parcel_id": parcel_id}]

    wait_until(lambda: bool(find_notifications(anna)))
    [notification] = find_notifications(anna)
    assert (notification["kind"], notification["read_at"]) == ("parcel-ready", None)
    assert find_notifications(bert) == []
    text = running.mail.wait_for(EMAIL, "Your parcel is ready", f"parcel {parcel_id} ")
    assert text == f"Pick up parcel {parcel_id} with its code."


def test_a_parcel_is_handed_over_for_the_code_in_the_receipt(running: Running, anna: dict[str, str]) -> None:
    parcel_id = running.send(anna)["id"]
    receipt = running.mail.wait_for(EMAIL, "Your receipt", f"Parcel {parcel_id} costs 12.50.")
    code = receipt.removesuffix(".").rpartition(" ")[2]
    stored = running.read_parcel(parcel_id)
    assert stored["code_hash"].startswith("$argon2id$")
    pick_up = f"/parcels/{parcel_id}/pickup"
    guessed = running.client.post(pick_up, headers={**anna, "X-Pickup-Code": f"{code}0"})
    assert_problem(guessed, 403, "wrong-code")
    assert running.read_parcel(parcel_id)["picked_up_at"] is None
    assert running.client.post(pick_up, headers={**anna, "X-Pickup-Code": code}).status_code == 204
    assert running.read_parcel(parcel_id)["picked_up_at"] is not None


def test_a_repeated_request_makes_one_parcel_with_one_receipt(running: Running, anna: dict[str, str]) -> None:
    key = {"Idempotency-Key": "the-same-parcel"}
    made = running.send(anna, **key)
    assert running.send(anna, **key) == made
    text = f"Parcel {made['id']} costs"
    running.mail.wait_for(EMAIL, "Your receipt", text)
    # The next one's receipt comes after a second one of this parcel would.
    later = running.send(anna)["id"]
    running.mail.wait_for(EMAIL, "Your receipt", f"Parcel {later} costs")
    assert len(running.mail.find(EMAIL, "Your receipt", text)) == 1


def test_each_library_is_in_the_metrics_and_nothing_private_in_the_log(running: Running, anna: dict[str, str]) -> None:
    running.send(anna)

    def has_all(scrape: Scrape) -> bool:
        return scrape.labels("kpi_kit_calls_total", "library") == LIBRARIES

    scrape = Scrape.wait_for(running.metrics_port, has_all)
    assert scrape.labels("kpi_kit_calls_total", "outcome") == {"ok"}
    log = running.log.read_text()
    assert [text for text in (EMAIL, ADDRESS, running.key) if text in log] == []
