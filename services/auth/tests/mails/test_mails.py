"""What mails say, and what admins see of them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import pytest
from auth_support import Account, Accounts
from jinja2 import DictLoader
from kpi_auth.mails import outbox
from kpi_auth.mails.models import LeasedMail
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.mails.rendering import TEMPLATES, Renderer
from kpi_auth.settings import AuthSettings
from kpi_shared.settings import SettingsError

LINK = "https://kpi.example.com/verify-email?code=Ab_-1&x=2"
VALUES = {
    Template.VERIFY_EMAIL: {"link": LINK},
    Template.ADDRESS_IN_USE: {},
    Template.USERNAME_IN_USE: {},
    Template.RESET_PASSWORD: {"link": LINK},
    Template.PASSWORD_CHANGED: {},
    Template.CONFIRM_EMAIL: {"link": LINK},
    Template.EMAIL_CHANGE_REQUESTED: {"new_email": "anna.new@example.com"},
    Template.EMAIL_CHANGED: {"new_email": "anna.new@example.com"},
    Template.SESSIONS_ENDED: {},
    Template.IDENTITY_LINKED: {"provider": "supabase"},
}
NOON = datetime(2026, 2, 1, 12, 0, 5, 123456, tzinfo=UTC)


def leased(template: Template, *, to: str = "anna@example.com", until: datetime | None = None) -> LeasedMail:
    return LeasedMail(7, to, template.value, None, 1, NOON, until, NOON, is_expired=False)


@pytest.fixture
def renderer(settings: AuthSettings) -> Renderer:
    return Renderer(
        settings.model_copy(
            update={"mail_from": "KPI-One <no-reply@kpi.example.com>", "public_url": "https://kpi.example.com"}
        )
    )


def bodies(message: EmailMessage) -> tuple[str, str]:
    """Text and HTML, as a mail program finds them."""
    parsed = message_from_bytes(message.as_bytes(), policy=default)
    found = [parsed.get_body((kind,)) for kind in ("plain", "html")]
    assert all(found)
    return tuple(body.get_content() for body in found)  # type: ignore[union-attr, return-value]


@pytest.mark.parametrize("template", Template)
def test_each_mail_says_what_happened_when_and_what_to_do_if_it_was_somebody_else(
    renderer: Renderer, template: Template
) -> None:
    message = renderer.letter(leased(template), {"username": "anna", **VALUES[template]}).message
    assert 10 < len(message["Subject"]) < 60
    for body in bodies(message):
        words = re.sub(r"<[^>]+>|\s+", " ", body).replace("  ", " ")
        assert "Hello anna," in words
        assert "1 February 2026, 12:00 UTC" in words
        assert re.search("If (it was not you|you did not register|it happens again)", words)
        assert "https://kpi.example.com" in words
        assert "{{" not in body
        for value in VALUES[template].values():
            assert value in body.replace("&amp;", "&")


@pytest.mark.parametrize("template", Template)
def test_a_mail_fetches_nothing_from_elsewhere(renderer: Renderer, template: Template) -> None:
    message = renderer.letter(leased(template), {"username": "anna", **VALUES[template]}).message
    html = bodies(message)[1]
    assert not re.search(r"<(img|script|link|iframe|svg)|url\(|@import", html, re.IGNORECASE)
    links = set(re.findall(r'(?:href|src)="([^"]+)"', html))
    assert links <= {"https://kpi.example.com", LINK.replace("&", "&amp;")}


def test_a_link_says_how_long_it_works(renderer: Renderer) -> None:
    mail = leased(Template.RESET_PASSWORD, until=NOON + timedelta(minutes=15))
    message = renderer.letter(mail, {"username": "anna", "link": LINK}).message
    assert all("1 February 2026, 12:15 UTC" in body for body in bodies(message))


def test_what_people_choose_is_text_in_html_and_no_header_anywhere(renderer: Renderer) -> None:
    hostile = "<b>x</b>\r\nBcc: eve@example.com\r\n\r\n<script>"
    values = {"username": hostile, "new_email": hostile, "provider": hostile, "link": '"><script>'}
    for template in Template:
        message = renderer.letter(leased(template), values).message
        parsed = message_from_bytes(message.as_bytes(), policy=default)
        assert set(parsed.keys()) == {
            *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"),
        }
        html = bodies(message)[1]
        assert "<b>x</b>" not in html
        assert "<script>" not in html


@pytest.mark.parametrize(
    "to", ["anna@example.com\r\nBcc: eve@example.com", "anna@example.com, eve@example.com", "anna"]
)
def test_a_recipient_is_one_address(renderer: Renderer, to: str) -> None:
    with pytest.raises((ValueError, MessageError)):
        renderer.letter(leased(Template.SESSIONS_ENDED, to=to), {"username": "anna"})


def test_a_subject_stays_on_one_line_whatever_is_in_it(renderer: Renderer) -> None:
    texts = {"x.txt": "{% block subject %}For {{ username }}{% endblock %}", "x.html": "<p>"}
    renderer._templates.loader = DictLoader(texts)
    mail = leased(Template.SESSIONS_ENDED)._replace(template="x")
    message = renderer.letter(mail, {"username": "anna\r\nBcc: eve@example.com"}).message
    assert message["Subject"] == "For anna Bcc: eve@example.com"
    assert "Bcc" not in message_from_bytes(message.as_bytes())


@pytest.mark.parametrize(
    ("address", "header"),
    [("anna@bücher.example", "anna@xn--bcher-kva.example"), ("änna@example.com", "änna@example.com")],
)
def test_an_address_outside_ascii_takes_the_form_that_most_servers_know(
    renderer: Renderer, address: str, header: str
) -> None:
    message = renderer.letter(leased(Template.SESSIONS_ENDED, to=address), {"username": "anna"}).message
    assert message["To"].addresses[0].addr_spec == header
    assert header.encode() in message.as_bytes()


def test_a_mail_is_known_by_the_same_id_each_time_and_by_another_in_another_database(renderer: Renderer) -> None:
    mail = leased(Template.SESSIONS_ENDED)
    elsewhere = mail._replace(created_at=NOON + timedelta(microseconds=1))
    ids = [
        renderer.letter(one, {"username": "anna"}).message["Message-ID"]
        for one in (mail, mail._replace(attempts=9, due_at=NOON + timedelta(days=1)), elsewhere)
    ]
    assert ids[0] == ids[1] != ids[2]
    assert re.fullmatch(r"<[\w.]+@kpi\.example\.com>", ids[0])


def test_every_template_is_there_twice_and_none_besides() -> None:
    names = {path.name for path in TEMPLATES.iterdir()}
    expected = {f"{template.value}.{kind}" for template in Template for kind in ("txt", "html")}
    assert names == expected | {"base.txt", "base.html", "parts.html"}


def test_the_address_of_the_mail_server_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, settings: AuthSettings, tmp_path: Path
) -> None:
    file = tmp_path / "mail_url"
    file.write_text("smtps://user:p%40ss@mail.example.com\n")
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("PASETO_SECRET_KEY", settings.paseto_secret_key.get_secret_value())
    monkeypatch.setenv("MAIL_URL_FILE", str(file))
    found = AuthSettings.load().mail_url
    assert found
    assert found.get_secret_value() == "smtps://user:p%40ss@mail.example.com"


def test_a_bad_mail_server_is_one_sentence_that_holds_no_password(
    monkeypatch: pytest.MonkeyPatch, settings: AuthSettings
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("PASETO_SECRET_KEY", settings.paseto_secret_key.get_secret_value())
    monkeypatch.setenv("MAIL_URL", "smtp://user:s3cret#@mail.example.com")
    monkeypatch.setenv("MAIL_FROM", "nobody")
    with pytest.raises(SettingsError) as caught:
        AuthSettings.load()
    assert str(caught.value).startswith("MAIL_URL: smtp://user:password@host:port")
    assert "MAIL_FROM: an address such as" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@dataclass
class Post:
    """The outbox of a test, with an admin who looks after it."""

    accounts: Accounts
    client: httpx.AsyncClient
    admin: Account

    async def put(self, mail: Mail, state: str = "dead") -> int:
        async with self.accounts.app.state.database.writing() as connection:
            await outbox.put(self.accounts.context, connection, mail)
        mail_id = int(str(await self.accounts.scalar("SELECT max(id) FROM mails")))
        settle = (
            "UPDATE mails SET state = :state, attempts = 5, last_error = '550 no', settled_at = now() WHERE id = :id"
        )
        if state != "pending":
            await self.accounts.execute(settle, state=state, id=mail_id)
        return mail_id

    async def get(self, query: str = "", account: Account | None = None) -> httpx.Response:
        return await self.client.get(f"/auth/mails{query}", headers=(account or self.admin).headers)

    async def retry(self, mail_id: int, account: Account | None = None) -> httpx.Response:
        return await self.client.post(f"/auth/mails/{mail_id}/retry", headers=(account or self.admin).headers)


@pytest.fixture
async def post(accounts: Accounts, client: httpx.AsyncClient) -> Post:
    admin = await accounts.add_admin()
    await accounts.execute("DELETE FROM mails")
    return Post(accounts, client, admin)


def mail(number: int = 0, **more: Any) -> Mail:
    return Mail(Template.RESET_PASSWORD, f"user{number}@example.com", {"username": "user", "link": LINK}, **more)


async def test_admins_page_through_mails_and_see_no_content(post: Post) -> None:
    dead = [await post.put(mail(number)) for number in range(5)]
    await post.put(mail(9), state="pending")
    seen: list[dict[str, Any]] = []
    query = "?state=dead&limit=2"
    while True:
        page = (await post.get(query)).json()
        seen += page["items"]
        if page["next"] is None:
            break
        query = f"?state=dead&limit=2&cursor={page['next']}"
    assert [item["id"] for item in seen] == dead[::-1]
    assert seen[0] == {
        "id": dead[-1],
        "recipient": "user4@example.com",
        "template": "reset_password",
        "state": "dead",
        "attempts": 5,
        "last_error": "550 no",
        **{name: seen[0][name] for name in ("created_at", "due_at", "settled_at")},
        "expires_at": None,
    }
    assert len((await post.get()).json()["items"]) == 6
    pending = (await post.get("?state=pending")).json()
    assert [item["recipient"] for item in pending["items"]] == ["user9@example.com"]
    assert pending["next"] is None


BAD = ["?state=lost", "?limit=0", "?limit=101", "?cursor=x", "?cursor=-1", f"?cursor={10**30}", "?before=3"]


@pytest.mark.parametrize("query", BAD)
async def test_a_question_that_makes_no_sense_is_refused(post: Post, query: str) -> None:
    assert (await post.get(query)).status_code == 422


async def test_mails_are_for_admins(post: Post) -> None:
    anna = await post.accounts.add("anna")
    mail_id = await post.put(mail())
    assert (await post.get(account=anna)).status_code == 403
    assert (await post.retry(mail_id, anna)).status_code == 403
    assert await post.accounts.scalar("SELECT state FROM mails WHERE id = :id", id=mail_id) == "dead"


async def test_an_admin_has_a_dead_mail_sent_again_and_it_is_recorded(post: Post) -> None:
    mail_id = await post.put(mail(expires_at=datetime.now(UTC) + timedelta(minutes=15)))
    answer = await post.retry(mail_id)
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["attempts"], answer.json()["settled_at"]) == ("pending", 0, None)
    assert await post.accounts.scalar("SELECT due_at <= now() FROM mails WHERE id = :id", id=mail_id)
    details = "SELECT details FROM audit_events WHERE event = 'mail.retried' AND actor_id = :id"
    expected = {"mail_id": mail_id, "template": "reset_password"}
    assert await post.accounts.scalar(details, id=post.admin.id) == expected


@pytest.mark.parametrize("change", ["state = 'sent'", "state = 'pending'", "content = NULL", "expires_at = now()"])
async def test_a_mail_that_is_not_dead_or_means_nothing_any_more_is_not_sent_again(post: Post, change: str) -> None:
    mail_id = await post.put(mail())
    await post.accounts.execute(f"UPDATE mails SET {change} WHERE id = :id", id=mail_id)  # noqa: S608 the line above
    answer = await post.retry(mail_id)
    assert (answer.status_code, answer.json()["type"]) == (409, "mail-not-retriable")
    assert await post.accounts.scalar("SELECT count(*) FROM audit_events WHERE event = 'mail.retried'") == 0


async def test_a_mail_that_never_was_is_not_found(post: Post) -> None:
    answer = await post.retry(2**63 - 1)
    assert (answer.status_code, answer.json()["type"]) == (404, "mail-not-found")
