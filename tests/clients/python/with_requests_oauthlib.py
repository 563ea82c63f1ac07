"""requests-oauthlib as an OAuth2 password client with refresh; given an address, a username and a password."""

import sys
import time
from collections.abc import Callable

from oauthlib.oauth2 import BackendApplicationClient, LegacyApplicationClient
from oauthlib.oauth2.rfc6749.errors import OAuth2Error
from requests_oauthlib import OAuth2Session

address, username, password = sys.argv[1:]
token_url = f"{address}/api/v1/auth/login"
refresh_url = f"{address}/api/v1/auth/refresh"


def new_session() -> OAuth2Session:
    return OAuth2Session(client=LegacyApplicationClient(client_id="a-client"))


def refusal(call: Callable[[], object]) -> str:
    """The error code with which the library reports a refusal."""
    try:
        token = call()
    except OAuth2Error as error:
        return str(error.error)
    raise AssertionError(f"this is taken for a token: {token}")


# With the client's name in an Authorization header, as is the default, and in the body.
for extra in ({}, {"include_client_id": True}):
    token = new_session().fetch_token(token_url, username=username, password=password, **extra)
    assert token["token_type"].lower() == "bearer"
    assert token["expires_in"] > 0

# The standard place to refresh at is the token URL (RFC 6749, section 6); a refreshUrl may be another.
for url in (refresh_url, token_url):
    updates = []
    session = OAuth2Session(
        "a-client",
        token=dict(token) | {"expires_at": time.time() - 10, "expires_in": -10},
        auto_refresh_url=url,
        auto_refresh_kwargs={"client_id": "a-client"},
        token_updater=updates.append,
    )
    assert session.get(f"{address}/api/v1/auth/me").json()["username"] == username
    assert len(updates) == 1
    assert updates[0]["refresh_token"] != token["refresh_token"]
    token = updates[0]

assert refusal(lambda: new_session().fetch_token(token_url, username=username, password="wrong")) == "invalid_grant"
assert refusal(lambda: new_session().fetch_token(token_url, username=username, password="")) == "invalid_request"
service = OAuth2Session(client=BackendApplicationClient(client_id="a-client"))
assert refusal(lambda: service.fetch_token(token_url)) == "unsupported_grant_type"
for url in (refresh_url, token_url):
    assert (
        refusal(lambda url=url: OAuth2Session("a-client").refresh_token(url, refresh_token="unknown"))
        == "invalid_grant"
    )
