"""Accounts of another system move in: ``kpi user import``, then a sign-in through the gateway with the old password."""

import csv
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import bcrypt
import httpx
import psycopg
import pytest
from kpi_shared.testing.process import clean_environment
from stack import PASSWORD, Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="the database of another stack is not known"),
]
API = "/api/v1"
TIMEOUT_SECONDS = 30
COLUMNS = "hash=encrypted_password,verified=email_confirmed_at,role="


def write_export(file: Path, name: str, *, hashed: str) -> None:
    """Two accounts as Supabase exports them, with columns that are not imported."""
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "email", "encrypted_password", "email_confirmed_at", "created_at", "role"])
        for address, stored in ((f"{name}@example.com", hashed), (f"{name}2@example.com", "")):
            rows.writerow([7, address, stored, "2023-05-01 10:00:00.5+00", "2023-04-01 10:00:00+00", "authenticated"])


def import_file(
    stack: Stack, file: Path, *options: str, given: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "kpi_cli", "user", "import", str(file), "--columns", COLUMNS, *options],
        env=clean_environment(dict(stack.settings["auth"])),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def stored_hash(stack: Stack, email: str) -> str:
    with psycopg.connect(stack.settings["auth"]["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT password_hash FROM users WHERE email = %s", [email]).fetchone()
    assert row is not None
    return str(row[0])


def sign_in(client: httpx.Client, login: str) -> httpx.Response:
    return client.post(f"{API}/auth/login", json={"username": login, "password": PASSWORD})


def test_an_export_moves_in_and_its_people_keep_their_passwords(
    stack: Stack, client: httpx.Client, tmp_path: Path
) -> None:
    file, name = tmp_path / "users.csv", f"i{uuid.uuid4().hex[:12]}"
    email = f"{name}@example.com"
    write_export(file, name, hashed=bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode())
    # From a pipe, which can be read only once.
    tried = import_file(stack, Path("/dev/stdin"), "--format", "csv", "--dry-run", given=file.read_text())
    assert (tried.returncode, sign_in(client, email).status_code) == (0, 401), tried.stderr
    summary = "nothing is stored by a dry run; new: 2, already here: 0, refused: 0; new without a password: 1"
    assert summary in tried.stdout
    done = import_file(stack, file, "--json")
    assert done.returncode == 0, done.stderr
    totals = {"read": 2, "added": 2, "unchanged": 0, "refused": 0, "without_password": 1, "stored": True}
    assert json.loads(done.stdout) == {"file": str(file), **totals, "problems": []}
    assert "columns that are not imported: id" in done.stderr

    assert stored_hash(stack, email).startswith("$2b$10$")
    signed_in = sign_in(client, email)
    assert signed_in.status_code == 200, signed_in.text
    assert stored_hash(stack, email).startswith("$argon2id$")
    again = sign_in(client, name)
    assert again.status_code == 200
    headers = {"Authorization": f"Bearer {again.json()['access_token']}"}
    me = client.get(f"{API}/auth/me", headers=headers).json()
    assert (me["email_verified"], me["created_at"][:10]) == (True, "2023-04-01")
    assert client.post(f"{API}/posts", json={"title": "T", "content": ""}, headers=headers).status_code == 201
    # Content learns of all imported accounts, of those that have not signed in too.
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with psycopg.connect(stack.settings["content"]["DATABASE_URL"], autocommit=True) as connection:
        while not connection.execute("SELECT 1 FROM authors WHERE username = %s", [f"{name}2"]).fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_errors_of_a_file_are_listed_by_line(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    write_export(file, f"i{uuid.uuid4().hex[:12]}", hashed="5f4dcc3b5aa765d61d8327deb882cf99")
    refused = import_file(stack, file)
    assert refused.returncode == 1
    problem, summary = refused.stdout.splitlines()
    assert problem.startswith(f"{file}: line 2: hash: the form of the hash is not known")
    assert summary == (
        "kpi: nothing is stored; new: 1, already here: 0, refused: 1; new without a password: 1. Correct these lines,"
        " or add --keep-going to leave them out"
    )
