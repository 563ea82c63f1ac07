"""The URLs of mails."""

from pathlib import Path

import pytest
from kpi_kit.mail.targets import (
    Folder,
    Security,
    SmtpServer,
    Target,
    read_target,
)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("smtp://mail.example.com", SmtpServer("mail.example.com", 587, Security.STARTTLS)),
        ("smtp://mail.example.com:2525/", SmtpServer("mail.example.com", 2525, Security.STARTTLS)),
        ("smtps://u:p@mail.example.com", SmtpServer("mail.example.com", 465, Security.TLS, "u", "p")),
        ("smtp://mailpit:1025?starttls=never", SmtpServer("mailpit", 1025, Security.PLAIN)),
        ("smtp://localhost:1025", SmtpServer("localhost", 1025, Security.PLAIN)),
        ("smtp://[::1]:1025", SmtpServer("::1", 1025, Security.PLAIN)),
        ("smtp://u:p@localhost", SmtpServer("localhost", 587, Security.STARTTLS, "u", "p")),
        ("file:///var/mails%20of%20mine", Folder(Path("/var/mails of mine"))),
    ],
)
def test_a_mail_url_is_parsed(url: str, target: Target) -> None:
    assert read_target(url)[1] == target


@pytest.mark.parametrize(
    "url",
    [
        "smtp://u:s3cret@mail.example.com?starttls=never",
        "smtp://u@mail.example.com",
        "smtp://:s3cret@mail.example.com",
        "smtp://u:s3cret#1@mail.example.com",
        "smtp://u:s3cret/1@mail.example.com",
        "smtp://mail.example.com:s3cret",
        "smtp://mail.example.com?starttls=maybe",
        "smtps://mail.example.com?starttls=never",
        "smtp://mail.example.com\r\nX: s3cret",
        "smtp://",
        "file://host/folder",
        "file:relative",
        "http://mail.example.com",
        "",
    ],
)
def test_an_unsafe_or_ambiguous_mail_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_target(url)
    assert "s3cret" not in str(caught.value)


def test_a_representation_contains_no_password() -> None:
    assert "s3cret" not in repr(read_target("smtps://u:s3cret@mail.example.com"))
