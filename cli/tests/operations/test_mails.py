"""``kpi mail``: mails as auth writes them, and mails of unknown origin."""

import json
from email.message import EmailMessage
from pathlib import Path

import pytest
from cli_harness import Checkout

LINK = "http://127.0.0.1:8000/auth/verify-email#code=abc"
HOSTILE = b"""From: \x1b[2Jx
To: =?utf-8?q?=1B=5D0=3Bowned=07?= <a@b.example>
Subject: =?utf-8?q?=1B[31m?= =?broken?x?y?=
Date: not a date
Content-Type: text/plain; charset="no-such-charset"

\x1b]52;c;aGk=\x07 text \x9b31m
"""


@pytest.fixture
def folder(empty_checkout: Checkout) -> Path:
    path = empty_checkout.home / "mails"
    path.mkdir()
    for number, minute in ((1, 10), (12, 30), (3, 20)):
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "KPI <no@localhost>", f"user{number}@b.example", f"Mail {number}"
        mail["Date"] = f"Fri, 27 Nov 2026 22:{minute}:00 +0000"
        mail.set_content(f"Hello,\n\n{LINK}\n")
        mail.add_alternative(f"<p>Number {number}</p>", subtype="html")
        (path / f"20261127T22{minute}00-verify_email-{number}.eml").write_bytes(mail.as_bytes())
    return path


def test_mails_are_listed_with_their_links_the_newest_first(empty_checkout: Checkout, folder: Path) -> None:
    (folder / "notes.txt").write_text("not a mail")
    result = empty_checkout.kpi("mail", "list")
    assert result.stdout.splitlines()[:2] == [
        "number\ttime\tto\tsubject\tlink",
        f"12\t2026-11-27T22:30:00Z\tuser12@b.example\tMail 12\t{LINK}",
    ]
    mails = json.loads(empty_checkout.kpi("mail", "list", "--json", "--limit", "2").stdout)["mails"]
    assert [mail["number"] for mail in mails] == [12, 3]
    assert empty_checkout.kpi("mail").stdout == result.stdout


def test_one_mail_is_shown_by_its_number_or_the_newest(empty_checkout: Checkout, folder: Path) -> None:
    shown = empty_checkout.kpi("mail", "show", "3").stdout
    assert "Subject: Mail 3\n" in shown
    assert shown.endswith(f"\n\nHello,\n\n{LINK}\n")
    newest = json.loads(empty_checkout.kpi("mail", "show", "--json").stdout)
    assert (newest["number"], newest["html"].strip()) == (12, "<p>Number 12</p>")
    missing = empty_checkout.kpi("mail", "show", "99")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no mail 99" in missing.stderr


def test_the_page_of_a_mail_runs_no_script_and_is_private(empty_checkout: Checkout, folder: Path) -> None:
    made = json.loads(empty_checkout.kpi("mail", "open", "3", "--json", BROWSER="/bin/true").stdout)
    page = Path(made["file"])
    assert made["opened"] is True
    assert page.read_text().startswith('<meta http-equiv="Content-Security-Policy" content="default-src \'none\';')
    assert "<p>Number 3</p>" in page.read_text()
    assert page.stat().st_mode & 0o077 == 0
    without = empty_checkout.kpi("mail", "open", "3", BROWSER="", PATH="")
    assert without.stdout == f"kpi: no browser was found; open this file: {page}\n"


def test_nothing_in_a_mail_reaches_the_terminal_as_a_command(empty_checkout: Checkout, folder: Path) -> None:
    (folder / "20261127T235959-hostile-77.eml").write_bytes(HOSTILE)
    for arguments in (["list"], ["show", "77"], ["list", "--json"], ["show", "77", "--json"]):
        result = empty_checkout.kpi("mail", *arguments)
        assert result.returncode == 0, result.stderr
        assert all(line.replace("\t", "").isprintable() for line in result.stdout.splitlines()), arguments
        assert "a@b.example" in result.stdout


def test_without_mails_it_is_said_where_they_go(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("mail", "list")
    assert result.returncode == 1
    assert "MAIL_URL" in result.stderr
