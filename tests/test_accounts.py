"""The life of an account through the gateway: mails with links that work, sessions in two tabs, admin endpoints."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from sent_mails import Mailbox
from stack import PASSWORD, Person, join

pytestmark = pytest.mark.e2e
API = "/api/v1"
NEW_PASSWORD = "a loud green tricycle"


def sign_in(client: httpx.Client, login: str, password: str) -> httpx.Response:
    return client.post(f"{API}/auth/login", json={"username": login, "password": password})


def refresh(client: httpx.Client, token: str) -> httpx.Response:
    return client.post(f"{API}/auth/refresh", json={"refresh_token": token})


def test_register_verify_forget_reset_and_sign_in(client: httpx.Client, mailbox: Mailbox) -> None:
    anna = join(client)
    # E-mails are written to files, so a taken address is disclosed, and an address signs in at once.
    assert sign_in(client, anna.email, PASSWORD).status_code == 200
    mail = mailbox.wait_for(anna.email)
    # The link leads through the gateway to a page; only that page reads the part after the #.
    page = client.get(urlsplit(mail.link).path)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert client.post(f"{API}/auth/verify-email", json={"code": mail.code}).is_success
    assert client.post(f"{API}/auth/verify-email", json={"code": mail.code}).status_code == 400
    assert sign_in(client, anna.email, PASSWORD).status_code == 200

    before = len(mailbox.mails(anna.email))
    assert client.post(f"{API}/auth/forgot-password", json={"email": anna.email}).status_code == 202
    mail = mailbox.wait_for(anna.email, after=before)
    assert client.get(urlsplit(mail.link).path).status_code == 200
    body = {"code": mail.code, "new_password": NEW_PASSWORD}
    assert client.post(f"{API}/auth/reset-password", json=body).status_code == 204
    assert sign_in(client, anna.username, PASSWORD).status_code == 401
    assert sign_in(client, anna.username, NEW_PASSWORD).status_code == 200
    # The earlier sessions have ended, and the owner was notified.
    assert client.get(f"{API}/auth/me", headers=anna.headers).status_code == 401
    mailbox.wait_for(anna.email, after=before + 1)


def test_only_registration_discloses_whether_an_account_exists(client: httpx.Client, mailbox: Mailbox) -> None:
    anna = join(client)
    mailbox.wait_for(anna.email)
    responses = [
        client.post(f"{API}/auth/forgot-password", json={"email": email})
        for email in (anna.email, f"nobody.{anna.email}")
    ]
    assert {response.status_code for response in responses} == {202}
    assert responses[0].content == responses[1].content
    again = client.post(
        f"{API}/users", json={"username": f"x{anna.username[:20]}", "email": anna.email, "password": PASSWORD}
    )
    assert (again.status_code, again.json()["type"]) == (409, "email-taken")


def test_two_tabs_refresh_at_once_and_both_stay_signed_in(client: httpx.Client, person: Person) -> None:
    with ThreadPoolExecutor(2) as tabs:
        responses = list(tabs.map(lambda _: refresh(client, person.refresh_token), range(2)))
    assert {response.status_code for response in responses} == {200}
    tokens = {response.json()["refresh_token"] for response in responses}
    assert len(tokens) == 1
    for response in responses:
        headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
        assert client.get(f"{API}/auth/me", headers=headers).status_code == 200
    # The content service accepts the new tokens too.
    assert client.post(f"{API}/posts", json={"title": "T", "content": ""}, headers=headers).status_code == 201
    assert refresh(client, tokens.pop()).status_code == 200


def test_an_old_refresh_token_ends_the_session(client: httpx.Client, person: Person) -> None:
    newest = person.refresh_token
    for _ in range(2):
        newest = refresh(client, newest).json()["refresh_token"]
    assert refresh(client, person.refresh_token).status_code == 401
    assert refresh(client, newest).status_code == 401
    assert client.get(f"{API}/auth/me", headers=person.headers).status_code == 401


def test_a_global_logout_ends_all_sessions(client: httpx.Client, person: Person) -> None:
    other = sign_in(client, person.username, PASSWORD).json()
    listed = client.get(f"{API}/auth/sessions", headers=person.headers).json()["items"]
    assert [session["is_current"] for session in listed] == [False, True]
    assert client.post(f"{API}/auth/logout", params={"scope": "global"}, headers=person.headers).status_code == 204
    assert refresh(client, other["refresh_token"]).status_code == 401


def test_admin_endpoints_are_refused_through_the_gateway_too(client: httpx.Client, person: Person) -> None:
    for path in ("/audit", "/auth/mails", f"/users/{person.id}/sessions"):
        assert client.get(f"{API}{path}", headers=person.headers).status_code == 403
        assert client.get(f"{API}{path}").status_code == 401


def test_a_conditional_change_and_a_deletion_with_a_body_pass_the_gateway(client: httpx.Client, person: Person) -> None:
    path = f"{API}/users/{person.id}"
    shown = client.get(path, headers=person.headers)
    tagged = {**person.headers, "If-Match": shown.headers["etag"]}
    changed = client.patch(path, json={"bio": "New here"}, headers=tagged)
    assert (changed.status_code, changed.json()["bio"]) == (200, "New here")
    assert client.patch(path, json={"bio": "Again"}, headers=tagged).status_code == 412
    unchanged = client.get(path, headers={**person.headers, "If-None-Match": changed.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert client.request("DELETE", path, json={"password": "not this"}, headers=person.headers).status_code == 403
    assert client.request("DELETE", path, json={"password": PASSWORD}, headers=person.headers).status_code == 204
    assert client.get(f"{API}/auth/me", headers=person.headers).status_code == 401
    assert sign_in(client, person.username, PASSWORD).status_code == 401
