"""The files of accounts that other systems export."""

import json
import os
from pathlib import Path

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.loading.account_files import AccountFile, Format


def write(folder: Path, text: str | bytes, name: str = "users.csv") -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def read(file: Path, *, form: Format | None = None, columns: str = "") -> list[dict[str, object]]:
    return list(AccountFile(file, form, columns).records())


SUPABASE = "hash=encrypted_password,verified=email_confirmed_at,role="
EXPORTS = {
    "our own": ("", "username,email,hash\nanna,a@x.example,$2b$12$x\n", {"username": "anna", "hash": "$2b$12$x"}),
    "Supabase": (
        SUPABASE,
        'id,email,encrypted_password,email_confirmed_at,role\n0,a@x.example,$2a$10$x,"2023-05-01 10:00:00+00",user\n',
        {"hash": "$2a$10$x", "verified": "2023-05-01 10:00:00+00"},
    ),
    "Django": (
        "hash=password,created_at=date_joined,role=is_superuser",
        "id;password;is_superuser;username;email;date_joined\n1;pbkdf2_sha256$1$a$b;t;anna;a@x.example;2020-01-01\n",
        {"username": "anna", "hash": "pbkdf2_sha256$1$a$b", "role": "t", "created_at": "2020-01-01"},
    ),
    "Laravel": (
        "hash=password,verified=email_verified_at",
        "id\tname\temail\tpassword\temail_verified_at\n1\tAnna B\ta@x.example\t$2y$12$x\t\n",
        {"hash": "$2y$12$x", "verified": ""},
    ),
}


@pytest.mark.parametrize(("columns", "text", "expected"), EXPORTS.values(), ids=EXPORTS)
def test_the_columns_of_an_export_become_fields(
    tmp_path: Path, columns: str, text: str, expected: dict[str, object]
) -> None:
    [record] = read(write(tmp_path, text), columns=columns)
    assert record == {"line": 2, "email": "a@x.example", **expected}


def test_the_columns_without_use_are_known(tmp_path: Path) -> None:
    files = {
        "users.csv": '\ufeffsep=;\n"id"; username ;"ph\none"; hash\n1; "anna";7;\n',
        "users.jsonl": '{"id": 1, "username": "anna", "hash": ""}\n{"ph\\none": 7}\n',
    }
    for name, text in files.items():
        accounts = AccountFile(write(tmp_path, text, name), None, "")
        assert next(accounts.records())["username"] == "anna"
        assert len(list(accounts.records())) == (1 if name == "users.csv" else 2)
        assert accounts.ignored == ("id", "ph\none")


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    long = "x" * 1024 * 1024 * 3
    text = f'username,email\r\nanna,"a\n@x"\r\n\r\nben,b@x.example,more\r\ncleo\r\ndora,d@x.example\n{long}\nemil,e'
    found = read(write(tmp_path, text), columns="hash=")
    assert [record["line"] for record in found] == [2, 5, 6, 7, 8, 9]
    assert found[4]["unreadable"] == "it is not CSV: it is longer than a megabyte"
    assert found[5] == {"line": 9, "username": "emil", "email": "e"}
    objects = f'{{"username": "anna"}}\n{{"a": "{long}"}}\n{{"username": "ben"}}\n'
    assert [record["line"] for record in read(write(tmp_path, objects, "u.jsonl"), columns="hash=")] == [1, 2, 3]
    assert found[0]["email"] == "a\n@x"
    assert found[1]["unreadable"] == "it has 3 columns, and the header has 2"
    assert found[2]["unreadable"] == "it has 1 columns, and the header has 2"
    assert found[3]["username"] == "dora"


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    lines = [{"login": "anna", "verified": True, "hash": None, "more": 7}, ["x"]]
    text = "\n".join([*map(json.dumps, lines), "{", "", "[" * 100_000])
    for name, form in (("users.jsonl", None), ("users.txt", Format.JSON_LINES)):
        assert read(write(tmp_path, text, name), form=form, columns="username=login") == [
            {"line": 1, "username": "anna", "verified": True},
            {"line": 2, "unreadable": "it is not a JSON object"},
            {"line": 3, "unreadable": "it is not JSON"},
            {"line": 5, "unreadable": "it is not JSON"},
        ]


def test_what_is_no_utf_8_is_no_valid_name(tmp_path: Path) -> None:
    [record] = read(write(tmp_path, b"username\n\xff\xfeanna\n"), columns="hash=")
    assert record["username"] == "\ufffd\ufffdanna"


@pytest.mark.parametrize(
    ("name", "text", "columns", "expected"),
    [
        ("users.txt", "", "", "the ending of users.txt does not say what it is"),
        ("users.csv", "login,mail\n", "", "has no column username or email: it has login, mail"),
        ("users.csv", "", "", "has no column username or email: it has none"),
        ("users.csv", "username\n", "hash=pw", "has no column pw: it has username"),
        ("users.csv", "username\n", "password=pw", "--columns password=pw: a field and a column are needed"),
        ("users.csv", "username\n", "hash", "--columns hash: a field and a column are needed"),
        ("users.csv", "username,password\na,x\n", "", "has no column hash, so that all would have no password: it has"),
        ("users.jsonl", '{"username": "a"}\n', "", "has no column hash, so that all would have no password"),
        ("users.jsonl", '{"username": "a", "hash": ""}\n', "verified=confirmed", "has no column confirmed"),
        ("users.csv", "id,hash,email,email\n", "", "has the column email twice"),
        ("users.csv", "PK\x03\x04\x14", "", "is a spreadsheet or an archive, and no text"),
        ("users.csv", b"\xff\xfeu\x00", "", "is in UTF-16"),
        ("users.csv", ",".join(["x" * 50] * 30), "", "it has " + ", ".join(["x" * 40] * 20) + ", ..."),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, name: str, text: str | bytes, columns: str, expected: str) -> None:
    file = write(tmp_path, text, name)
    with pytest.raises(FailureError) as raised:
        read(file, columns=columns)
    assert expected in str(raised.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="No such file"):
        read(tmp_path / "users.csv")


def test_what_can_be_read_only_once_is_copied(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"username,hash\nanna,x\n")
    os.close(writing)
    accounts = AccountFile(Path(f"/dev/fd/{reading}"), Format.CSV, "")
    found = [list(accounts.records()) for _ in range(2)]
    os.close(reading)
    assert found == [[{"line": 2, "username": "anna", "hash": "x"}]] * 2
