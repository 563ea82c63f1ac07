"""What services work with during a request: the first parameter of each service function."""

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from kpi_shared.addresses import Address
from kpi_shared.database import Database
from kpi_shared.tokens import TokenCodec
from starlette.datastructures import State

from kpi_auth.hashing.hasher import PasswordHasher
from kpi_auth.origin import CONSOLE, Origin, RequestOrigin
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.lifetimes import Lifetimes
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.tokens.api_key_texts import API_KEYS, KeyHasher
from kpi_auth.tokens.refresh_tokens import RefreshTokens

# The purpose of the keys that seal stored responses: some contain the text of an API key.
IDEMPOTENCY = b"idempotency"


@dataclass(frozen=True, slots=True)
class Context:
    """The settings, the database, the origin of the request, and the tools that live as long as the application."""

    settings: AuthSettings
    database: Database
    origin: Origin
    hasher: PasswordHasher
    tokens: TokenCodec
    refresh_tokens: RefreshTokens
    lifetimes: Lifetimes
    key_hasher: KeyHasher

    def from_address(self, address: Address) -> "Context":
        """The same for a client with this address, of which another part reports."""
        return replace(self, origin=self.origin._replace(address=address, user_agent=None))


def install_tools(app: FastAPI) -> None:
    """Create the tools that need no closing."""
    state = app.state
    state.secret_keys = SecretKeys(state.settings)
    state.refresh_tokens = RefreshTokens(state.secret_keys)
    state.lifetimes = Lifetimes.of(state.settings)
    state.key_hasher = KeyHasher(state.secret_keys.derive(API_KEYS))
    state.idempotency_secrets = state.secret_keys.derive(IDEMPOTENCY)


def standalone_context(settings: AuthSettings, database: Database, hasher: PasswordHasher) -> Context:
    """For operators' commands, which run outside the application."""
    return Context(
        settings=settings,
        database=database,
        origin=CONSOLE,
        hasher=hasher,
        tokens=TokenCodec.of(settings),
        refresh_tokens=RefreshTokens(SecretKeys(settings)),
        lifetimes=Lifetimes.of(settings),
        key_hasher=KeyHasher(SecretKeys(settings).derive(API_KEYS)),
    )


def context_of(state: State, origin: Origin) -> Context:
    return Context(
        settings=state.settings,
        database=state.database,
        origin=origin,
        hasher=state.hasher,
        tokens=state.tokens,
        refresh_tokens=state.refresh_tokens,
        lifetimes=state.lifetimes,
        key_hasher=state.key_hasher,
    )


async def _context(request: Request, origin: RequestOrigin) -> Context:
    return context_of(request.app.state, origin)


CurrentContext = Annotated[Context, Depends(_context)]
