"""The content of mails, and the endpoints for admins."""

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
    return LeasedMail(7, to, template.value, None, 1, 5, until, NOON, is_expired=False)


@pytest.fixture
def renderer(settings: AuthSettings) -> Renderer:
    return Renderer(
        settings.model_copy(
            update={"mail_from": "KPI-One <no-reply@kpi.example.com>", "public_url": "https://kpi.example.com"}
        )
    )


def bodies(message: EmailMessage) -> tuple[str, str]:
    """The text and the HTML body, as a mail program reads them."""
    parsed = message_from_bytes(message.as_bytes(), policy=default)
    found = [parsed.get_body((kind,)) for kind in ("plain", "html")]
    assert all(found)
    return tuple(body.get_content() for body in found)  # type: ignore[union-attr, return-value]


@pytest.mark.parametrize("template", Template)
def test_each_mail_states_what_happened_when_and_what_to_do_about_it(renderer: Renderer, template: Template) -> None:
    message = renderer.render(leased(template), {"username": "anna", **VALUES[template]}).message
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
def test_a_mail_loads_nothing_from_other_servers(renderer: Renderer, template: Template) -> None:
    message = renderer.render(leased(template), {"username": "anna", **VALUES[template]}).message
    html = bodies(message)[1]
    assert not re.search(r"<(img|script|link|iframe|svg)|url\(|@import", html, re.IGNORECASE)
    links = set(re.findall(r'(?:href|src)="([^"]+)"', html))
    assert links <= {"https://kpi.example.com", LINK.replace("&", "&amp;")}


def test_a_mail_states_how_long_its_link_is_valid(renderer: Renderer) -> None:
    mail = leased(Template.RESET_PASSWORD, until=NOON + timedelta(minutes=15))
    message = renderer.render(mail, {"username": "anna", "link": LINK}).message
    assert all("1 February 2026, 12:15 UTC" in body for body in bodies(message))


def test_values_are_escaped_in_html_and_add_no_header_field(renderer: Renderer) -> None:
    hostile = "<b>x</b>\r\nBcc: eve@example.com\r\n\r\n<script>"
    values = {"username": hostile, "new_email": hostile, "provider": hostile, "link": '"><script>'}
    for template in Template:
        message = renderer.render(leased(template), values).message
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
        renderer.render(leased(Template.SESSIONS_ENDED, to=to), {"username": "anna"})


def test_a_subject_is_always_one_line(renderer: Renderer) -> None:
    texts = {"x.txt": "{% block subject %}For {{ username }}{% endblock %}", "x.html": "<p>"}
    renderer._templates.loader = DictLoader(texts)
    mail = leased(Template.SESSIONS_ENDED)._replace(template="x")
    message = renderer.render(mail, {"username": "anna\r\nBcc: eve@example.com"}).message
    assert message["Subject"] == "For anna Bcc: eve@example.com"
    assert "Bcc" not in message_from_bytes(message.as_bytes())


@pytest.mark.parametrize(
    ("address", "header"),
    [("anna@bücher.example", "anna@xn--bcher-kva.example"), ("änna@example.com", "änna@example.com")],
)
def test_a_non_ascii_domain_is_sent_in_its_ascii_form(renderer: Renderer, address: str, header: str) -> None:
    message = renderer.render(leased(Template.SESSIONS_ENDED, to=address), {"username": "anna"}).message
    assert message["To"].addresses[0].addr_spec == header
    assert header.encode() in message.as_bytes()


def test_a_message_id_is_stable_and_differs_between_databases(renderer: Renderer) -> None:
    mail = leased(Template.SESSIONS_ENDED)
    elsewhere = mail._replace(created_at=NOON + timedelta(microseconds=1))
    ids = [
        renderer.render(one, {"username": "anna"}).message["Message-ID"]
        for one in (mail, mail._replace(attempts=9, lease=8), elsewhere)
    ]
    assert ids[0] == ids[1] != ids[2]
    assert re.fullmatch(r"<[\w.]+@kpi\.example\.com>", ids[0])


def test_every_template_exists_as_text_and_as_html() -> None:
    names = {path.name for path in TEMPLATES.iterdir()}
    expected = {f"{template.value}.{kind}" for template in Template for kind in ("txt", "html")}
    assert names == expected | {"base.txt", "base.html", "parts.html"}


def test_the_mail_url_can_be_read_from_a_file(
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


def test_an_invalid_mail_url_is_reported_in_one_sentence_without_its_password(
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
class MailAdmin:
    """Adds mails to the outbox, and calls the endpoints as an admin."""

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
async def mails(accounts: Accounts, client: httpx.AsyncClient) -> MailAdmin:
    admin = await accounts.add_admin()
    await accounts.execute("DELETE FROM mails")
    return MailAdmin(accounts, client, admin)


def mail(number: int = 0, **more: Any) -> Mail:
    return Mail(Template.RESET_PASSWORD, f"user{number}@example.com", {"username": "user", "link": LINK}, **more)


async def test_admins_page_through_mails_and_see_no_content(mails: MailAdmin) -> None:
    dead = [await mails.put(mail(number)) for number in range(5)]
    await mails.put(mail(9), state="pending")
    seen: list[dict[str, Any]] = []
    query = "?state=dead&limit=2"
    while True:
        page = (await mails.get(query)).json()
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
    assert len((await mails.get()).json()["items"]) == 6
    pending = (await mails.get("?state=pending")).json()
    assert [item["recipient"] for item in pending["items"]] == ["user9@example.com"]
    assert pending["next"] is None


BAD = ["?state=lost", "?limit=0", "?limit=101", "?cursor=x", "?cursor=-1", f"?cursor={10**30}", "?before=3"]


@pytest.mark.parametrize("query", BAD)
async def test_an_invalid_query_is_refused(mails: MailAdmin, query: str) -> None:
    assert (await mails.get(query)).status_code == 422


async def test_mails_are_for_admins(mails: MailAdmin) -> None:
    anna = await mails.accounts.add("anna")
    mail_id = await mails.put(mail())
    assert (await mails.get(account=anna)).status_code == 403
    assert (await mails.retry(mail_id, anna)).status_code == 403
    assert await mails.accounts.scalar("SELECT state FROM mails WHERE id = :id", id=mail_id) == "dead"


async def test_an_admin_retries_a_dead_mail_and_this_is_recorded(mails: MailAdmin) -> None:
    mail_id = await mails.put(mail(expires_at=datetime.now(UTC) + timedelta(minutes=15)))
    response = await mails.retry(mail_id)
    assert response.status_code == 200
    assert (response.json()["state"], response.json()["attempts"], response.json()["settled_at"]) == (
        "pending",
        0,
        None,
    )
    assert await mails.accounts.scalar("SELECT due_at <= now() FROM mails WHERE id = :id", id=mail_id)
    details = "SELECT details FROM audit_events WHERE event = 'mail.retried' AND actor_id = :id"
    expected = {"mail_id": mail_id, "template": "reset_password"}
    assert await mails.accounts.scalar(details, id=mails.admin.id) == expected


@pytest.mark.parametrize("change", ["state = 'sent'", "state = 'pending'", "content = NULL", "expires_at = now()"])
async def test_a_mail_that_is_not_dead_or_has_expired_cannot_be_retried(mails: MailAdmin, change: str) -> None:
    mail_id = await mails.put(mail())
    await mails.accounts.execute(f"UPDATE mails SET {change} WHERE id = :id", id=mail_id)  # noqa: S608 the line above
    response = await mails.retry(mail_id)
    assert (response.status_code, response.json()["type"]) == (409, "mail-not-retriable")
    assert await mails.accounts.scalar("SELECT count(*) FROM audit_events WHERE event = 'mail.retried'") == 0


async def test_an_unknown_mail_is_not_found(mails: MailAdmin) -> None:
    response = await mails.retry(2**63 - 1)
    assert (response.status_code, response.json()["type"]) == (404, "mail-not-found")
