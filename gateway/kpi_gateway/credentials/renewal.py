"""Requests whose token a service refuses although its key is valid: its owner has another name or role since.

An exchange is kept for seconds, and services learn within one second that the account has changed (ADR 41).
"""

import time
from http import HTTPStatus

from kpi_gateway.credentials.presented import AUTHORIZATION, Pair
from kpi_gateway.credentials.service import Credentials, KeyedRequest
from kpi_gateway.setting_types import Timeouts
from kpi_gateway.upstream.contract import UpstreamClient, UpstreamRequest, UpstreamResponse

# RFC 6750, 3.1: the token is expired, revoked or invalid, so the service has done nothing else, whatever the method.
_REFUSAL = b'error="invalid_token"'


class RenewingClient:
    """Sends a request with a key, and once more with a new token if a service refuses the first one."""

    __slots__ = ("_client", "_credentials", "_keyed", "_timeouts")

    def __init__(
        self, client: UpstreamClient, credentials: Credentials, keyed: KeyedRequest, timeouts: Timeouts
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._keyed = keyed
        self._timeouts = timeouts

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """As UpstreamClient; also raises what an exchange raises, so that a key that has ended is not a wrong token."""
        began = time.monotonic()
        response = await self._client.send(request)
        if not _refuses_token(response):
            return response
        token = dict(request.headers).get(AUTHORIZATION)
        if token is None or not self._credentials.end_token(self._keyed, token):
            return response
        if request.body is not None and not isinstance(request.body, bytes):
            # A part of it has been sent and is not kept; the next request gets a new token.
            return response
        # Its place is needed for the second time.
        response.close()
        return await self._repeat(request, began)

    async def _repeat(self, request: UpstreamRequest, began: float) -> UpstreamResponse:
        token = await self._credentials.renew(self._keyed, seconds=self._timeouts.spend(time.monotonic() - began).read)
        timeouts = self._timeouts.spend(time.monotonic() - began)
        headers = [_replace_token(pair, token) for pair in request.headers]
        response = await self._client.send(request._replace(headers=headers, timeouts=timeouts))
        if not _refuses_token(response):
            self._credentials.prove_token(self._keyed, token)
        return response


def _refuses_token(response: UpstreamResponse) -> bool:
    if response.status != HTTPStatus.UNAUTHORIZED:
        return False
    return any(name == b"www-authenticate" and _REFUSAL in value for name, value in response.headers)


def _replace_token(pair: Pair, token: bytes) -> Pair:
    return (AUTHORIZATION, token) if pair[0] == AUTHORIZATION else pair
