"""Authlib as an OAuth2 password client with refresh; given an address, a username and a password."""

import sys
import time
from collections.abc import Callable

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

address, username, password = sys.argv[1:]
token_url = f"{address}/api/v1/auth/login"
refresh_url = f"{address}/api/v1/auth/refresh"


def refusal(call: Callable[[], object]) -> str:
    """The error code with which the library reports a refusal."""
    try:
        token = call()
    except OAuthError as error:
        return str(error.error)
    raise AssertionError(f"this is taken for a token: {token}")


client = OAuth2Session("a-client", token_endpoint=token_url)
token = client.fetch_token(token_url, username=username, password=password)
assert token["token_type"] == "bearer"
assert client.get(f"{address}/api/v1/auth/me").json()["username"] == username

# An expired token is refreshed at the token URL when it is used; a refreshUrl is given by hand.
client.token = dict(token) | {"expires_at": time.time() - 10}
assert client.get(f"{address}/api/v1/auth/me").json()["username"] == username
assert client.token["refresh_token"] != token["refresh_token"]
client.refresh_token(refresh_url)
assert client.get(f"{address}/api/v1/auth/me").json()["username"] == username

stranger = OAuth2Session("a-client")
assert refusal(lambda: stranger.fetch_token(token_url, username=username, password="wrong")) == "invalid_grant"
assert refusal(lambda: stranger.fetch_token(token_url, username=username, password="")) == "invalid_request"
assert refusal(lambda: stranger.fetch_token(token_url, grant_type="client_credentials")) == "unsupported_grant_type"
for url in (refresh_url, token_url):
    assert refusal(lambda url=url: stranger.refresh_token(url, refresh_token="unknown")) == "invalid_grant"

assert client.revoke_token(f"{address}/api/v1/auth/revoke").status_code == 200
assert client.get(f"{address}/api/v1/auth/me").status_code == 401
