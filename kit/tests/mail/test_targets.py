"""The URLs of mails."""

from pathlib import Path

import pytest
from kpi_kit.errors import UrlError
from kpi_kit.mail import Mailer
from kpi_kit.mail.targets import ApiAccount, Folder, Memory, Security, SesAccount, SmtpServer, Target
from kpi_kit.mail.urls import read_target


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
        ("ses://eu-west-1", SesAccount("eu-west-1")),
        (
            "ses://AKIA:a%2Fb@us-gov-west-1?configuration_set=shop",
            SesAccount("us-gov-west-1", "AKIA", "a/b", None, "shop"),
        ),
        (
            "ses://us-east-1?endpoint=http%3A%2F%2F127.0.0.1%3A5000",
            SesAccount("us-east-1", endpoint="http://127.0.0.1:5000"),
        ),
        ("sendgrid://:SG.a%2Bb@api.sendgrid.com", ApiAccount("https://api.sendgrid.com", "SG.a+b")),
        ("sendgrid://:key@127.0.0.1:8025", ApiAccount("http://127.0.0.1:8025", "key")),
        (
            "mailgun://api:key@api.eu.mailgun.net/mg.example.com",
            ApiAccount("https://api.eu.mailgun.net", "key", "mg.example.com"),
        ),
        ("mailgun://:key@[::1]:8025/mg.example.com", ApiAccount("http://[::1]:8025", "key", "mg.example.com")),
        ("memory://", Memory()),
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
        "ses://",
        "ses://Eu-West",
        "ses://s3cret@eu-west-1",
        "ses://eu-west-1?region=eu",
        "ses://k:s3cret@eu-west-1?endpoint=http://mail.example.com",
        "ses://k:s3cret@eu-west-1?endpoint=http://127.0.0.1.s3cret.example.com",
        "sendgrid://api.sendgrid.com",
        "sendgrid://:s3cret@",
        "sendgrid://:s3cret@api.sendgrid.com/v3",
        "mailgun://:s3cret@api.mailgun.net",
        "mailgun://:s3cret@api.mailgun.net/../v3",
        "mailgun://:s3cret@api.mailgun.net/mg.example.com/messages",
        "mailgun://:s3cr\u00e9t@api.mailgun.net/mg.example.com",
        "sendgrid://:s3cret%0A@api.sendgrid.com",
        "smtp://u:s3cret%0D%0A@mail.example.com",
        "ses://k:s3cret%00@eu-west-1",
        "memory://s3cret",
        "http://mail.example.com",
        "",
    ],
)
def test_an_unsafe_or_ambiguous_mail_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_target(url)
    assert "s3cret" not in str(caught.value)


URLS_WITH_SECRET = [
    "smtps://u:s3cret@mail.example.com",
    "ses://k:s3cret@eu-west-1",
    "sendgrid://:s3cret@api.sendgrid.com",
    "mailgun://:s3cret@api.mailgun.net/mg.example.com",
]


@pytest.mark.parametrize("url", URLS_WITH_SECRET)
def test_a_representation_contains_no_password(url: str) -> None:
    assert "s3cret" not in repr(read_target(url))
    mailer = Mailer.from_url(url, named={"other": url})
    assert "s3cret" not in repr(mailer) + repr(vars(mailer))


def test_the_error_of_an_unknown_form_lists_the_forms() -> None:
    with pytest.raises(
        UrlError, match=r"smtp://user:password@host:port, .*ses://.*memory://: a URL of one of these forms"
    ):
        Mailer.from_url("carrier-pigeon://coop")
