"""Entity tags of users, If-Match and If-None-Match."""

from typing import Any

import httpx
import pytest
from auth_support import PASSWORD, Account, Accounts, assert_problem
from kpi_shared.http.conditional import MalformedConditionError, parse_condition


async def get(client: httpx.AsyncClient, by: Account, of: Account, **headers: str) -> httpx.Response:
    return await client.get(f"/users/{of.id}", headers=by.headers | headers)


def of(account: Account, tags: str) -> str:
    """The tags of this account."""
    return tags.replace("-a", f"-a{account.id}")


async def test_tags_of_different_users_differ(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna, ben = await accounts.add("anne"), await accounts.add("bert")
    known = (await client.get("/auth/me", headers=anna.headers)).headers
    assert "Authorization" in known["vary"]
    response = await client.get("/auth/me", headers=ben.headers | {"If-None-Match": known["etag"]})
    assert (response.status_code, response.json()["username"]) == (200, "bert")


async def test_different_representations_have_different_tags(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account, root: Account
) -> None:
    ben = await accounts.add("ben")
    own, by_admin, by_other = [(await get(client, by, anna)).headers["etag"] for by in (anna, root, ben)]
    assert own == by_admin == f'"1-a{anna.id}"'
    assert by_other == '"1"'
    assert (await get(client, ben, anna)).headers["cache-control"] == "private, no-cache"
    assert (await get(client, anna, anna, **{"If-None-Match": by_other})).status_code == 200


async def test_every_write_changes_the_tag_and_returns_the_new_one(
    client: httpx.AsyncClient, anna: Account, root: Account
) -> None:
    url = f"/users/{anna.id}"
    for number, (by, method, body) in enumerate(
        [
            (anna, "PATCH", {"bio": "x"}),
            (anna, "PUT", {"username": "anna"}),
            (root, "PATCH", {"email": "new@example.com"}),
            (root, "PATCH", {"role": "admin"}),
            (root, "PATCH", {"is_active": False}),
        ],
        start=2,
    ):
        response = await client.request(method, url, json=body, headers=by.headers)
        assert response.headers["etag"] == f'"{number}-a{anna.id}"', response.text
        assert (await get(client, root, anna)).headers["etag"] == response.headers["etag"]
    assert (await client.delete(url, headers=root.headers)).status_code == 204
    deleted = await client.get(url, params={"deleted": True}, headers=root.headers)
    assert deleted.headers["etag"] == f'"7-a{anna.id}"'
    restored = await client.post(f"{url}/restore", headers=root.headers | {"If-Match": f'"7-a{anna.id}"'})
    assert restored.headers["etag"] == f'"8-a{anna.id}"'


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ('"1-a"', 304),
        ('W/"1-a"', 304),
        ("*", 304),
        ('"0-a", "1-a"', 304),
        ('"1"', 200),
        ('"2-a"', 200),
        ("1-a", 400),
    ],
)
async def test_if_none_match_with_the_current_version_is_304(
    client: httpx.AsyncClient, anna: Account, sent: str, status: int
) -> None:
    response = await get(client, anna, anna, **{"If-None-Match": of(anna, sent)})
    assert response.status_code == status
    if status != 400:
        assert response.headers["etag"] == of(anna, '"1-a"')
    if status == 304:
        assert response.content == b""


@pytest.mark.parametrize(
    ("sent", "fits"),
    [
        ('"1-a"', True),
        ("*", True),
        (' "9-a" ,, "1-a"', True),
        ('"a,b", "1-a"', True),
        ('W/"1-a"', False),
        ('"1"', False),
        ('"2-a"', False),
        ('""', False),
    ],
)
async def test_if_match_is_checked_for_each_write(
    client: httpx.AsyncClient, anna: Account, root: Account, sent: str, fits: bool
) -> None:
    url, condition = f"/users/{anna.id}", {"If-Match": of(anna, sent)}
    requests: list[tuple[str, str, Any]] = [
        ("PATCH", url, {"bio": "x"}),
        ("PUT", url, {"username": "anna", "full_name": "A"}),
        ("DELETE", url, None),
        ("POST", f"{url}/restore", None),
    ]
    for method, address, body in requests:
        response = await client.request(method, address, json=body, headers=root.headers | condition)
        if not fits:
            assert_problem(response, 412, "changed-meanwhile")
            assert response.headers["etag"] == of(anna, '"1-a"')
        else:
            assert response.is_success, response.text
            # The next request is for the version that this one has created.
            version = int((response.headers.get("etag") or '"4-a"').strip('"').partition("-")[0])
            condition = {"If-Match": of(anna, sent.replace("1-a", f"{version}-a"))}


@pytest.mark.parametrize("sent", ["", "1-a", '"1-a', '"1-a" "2-a"', "W/*", '*, "1-a"', ",", 'w/"1-a"', '"a b"'])
async def test_a_malformed_condition_is_refused(client: httpx.AsyncClient, anna: Account, sent: str) -> None:
    url, headers = f"/users/{anna.id}", anna.headers | {"If-Match": of(anna, sent)}
    assert_problem(await client.patch(url, json={"bio": "x"}, headers=headers), 400, "malformed-condition")
    body = {"password": PASSWORD}
    assert_problem(await client.request("DELETE", url, json=body, headers=headers), 400, "malformed-condition")


def test_lines_of_one_header_field_are_one_list() -> None:
    condition = parse_condition(['"a"', 'W/"b"'])
    assert condition is not None
    assert (condition.matches_strongly('"a"'), condition.matches_strongly('"b"'), condition.matches_weakly('"b"')) == (
        *(True, False, True),
    )
    assert parse_condition([]) is None


def test_a_long_header_field_is_parsed_in_linear_time() -> None:
    """A pattern with backtracking would take minutes for these."""
    for value in (" " * 60_000 + "x", '"a",' * 20_000 + "x", '"' + "a" * 60_000, "," * 60_000):
        with pytest.raises(MalformedConditionError):
            parse_condition([value])
