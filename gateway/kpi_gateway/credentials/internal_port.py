"""Requests of the gateway itself to auth, on a port that no route leads to."""

import asyncio
import json

from kpi_shared.errors import current_request_id

from kpi_gateway.settings import INTERNAL, GatewaySettings
from kpi_gateway.upstream.contract import UpstreamClient, UpstreamRequest, read_body

# The share of a request's time that an exchange may take; the rest is for the service.
_SHARE = 0.8


class InternalPort:
    """Sends requests of the gateway itself to auth."""

    def __init__(self, settings: GatewaySettings, client: UpstreamClient) -> None:
        assert settings.internal_key is not None  # noqa: S101 the settings have been validated
        self._authorization = b"Bearer " + settings.internal_key.get_secret_value().strip().encode()
        self._timeouts = settings.timeouts._replace(read=settings.upstream_read_timeout * _SHARE)
        self._client = client

    async def post(
        self, target: bytes, members: object, *, client: str = "", is_repeatable: bool = False
    ) -> tuple[int, bytes]:
        """Status and body; raises ProblemError or TimeoutError. ``client`` is the network that the request is for."""
        headers = [
            (b"authorization", self._authorization),
            (b"content-type", b"application/json"),
            (b"x-request-id", current_request_id().encode()),
        ]
        body = json.dumps(members).encode()
        request = UpstreamRequest(
            b"POST",
            INTERNAL,
            target,
            headers,
            body,
            timeouts=self._timeouts,
            client=client,
            is_repeatable=is_repeatable,
        )
        async with asyncio.timeout(self._timeouts.read):
            response = await self._client.send(request)
            try:
                return response.status, await read_body(response.chunks())
            finally:
                response.close()
