"""Users as the tests of a service know them, by tokens that the service accepts."""

from dataclasses import dataclass
from datetime import timedelta

import httpx

from kpi_shared.caller import Role, Subject
from kpi_shared.tokens import TokenCodec

ANNA, BERT, ADMIN = 11, 22, 33


@dataclass(frozen=True)
class Caller:
    """A user as the auth service's token describes them, and the header fields of their requests."""

    subject: Subject
    headers: dict[str, str]


def caller(tokens: TokenCodec, user_id: int, username: str, *, role: Role = Role.USER) -> Caller:
    # Longer than all tests take, on any machine.
    token = tokens.mint(user_id=user_id, username=username, role=role, session_id="1", lifetime=timedelta(hours=3))
    return Caller(tokens.verify(token), {"Authorization": f"Bearer {token}"})


def assert_problem(response: httpx.Response, status: int, slug: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == slug
