"""The files of accounts that other systems export."""

import json
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
    accounts = AccountFile(write(tmp_path, "\ufeffid, username ,phone\n1,anna,7\n"), None, "")
    assert list(accounts.records()) == [{"line": 2, "username": "anna"}]
    assert accounts.ignored == ("id", "phone")


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    text = 'username,email\r\nanna,"a\n@x"\r\n\r\nben,b@x.example,more\r\ncleo\r\ndora,d@x.example'
    found = read(write(tmp_path, text))
    assert [record["line"] for record in found] == [2, 5, 6, 7]
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
    [record] = read(write(tmp_path, b"username\n\xff\xfeanna\n"))
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
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, name: str, text: str, columns: str, expected: str) -> None:
    file = write(tmp_path, text, name)
    with pytest.raises(FailureError) as raised:
        read(file, columns=columns)
    assert expected in str(raised.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="No such file"):
        read(tmp_path / "users.csv")
