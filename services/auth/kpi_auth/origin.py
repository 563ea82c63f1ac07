"""The origin of a request, as it is recorded."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from kpi_shared.addresses import Address, are_all_loopback, client_address
from kpi_shared.errors import current_request_id
from starlette.datastructures import Headers

_MAX_USER_AGENT = 256
# Where the check of a token puts the id of the API key that it was issued for, in the scope of the request.
API_KEY_ID = "kpi.api_key_id"


class Origin(NamedTuple):
    """``address`` is None where it is unknown; the request id is the one in the log and in the response."""

    address: Address | None
    user_agent: str | None
    request_id: str
    scope: Mapping[str, Any] | None = None

    @property
    def key_id(self) -> int | None:
        """The API key of the request; read from its scope when it is needed, as a token is checked after this."""
        return self.scope.get(API_KEY_ID) if self.scope is not None else None

    @property
    def is_local_program(self) -> bool:
        """Whether a program on this machine sent the request, and no browser: a page may be from anywhere.

        A browser adds one of these fields to every POST, also for a page that reaches this machine under a name of its
        own, which has been pointed here (DNS rebinding).
        """
        if self.scope is None or not self.scope["client"]:
            return False
        headers = Headers(scope=dict(self.scope))
        if any(name == "origin" or name.startswith("sec-fetch-") for name in headers):
            return False
        return are_all_loopback(self.scope["client"][0], headers.getlist("x-forwarded-for"))

    @property
    def columns(self) -> dict[str, str | None]:
        """The values as rows store them."""
        return {
            "address": str(self.address) if self.address else None,
            "user_agent": self.user_agent,
            "request_id": self.request_id or None,
        }


# For commands that an operator runs on the machine itself.
CONSOLE = Origin(address=None, user_agent="kpi", request_id="")


async def _origin(request: Request) -> Origin:
    peer = request.client.host if request.client else ""
    forwarded = request.headers.getlist("x-forwarded-for")
    # Without control characters, which a terminal would execute (ASVS 5.0, 16.4.1).
    sent = request.headers.get("user-agent", "")[:_MAX_USER_AGENT]
    agent = "".join(character for character in sent if character.isprintable())
    address = client_address(peer, forwarded, request.app.state.trusted_proxies)
    return Origin(address, agent or None, current_request_id(), request.scope)


RequestOrigin = Annotated[Origin, Depends(_origin)]
