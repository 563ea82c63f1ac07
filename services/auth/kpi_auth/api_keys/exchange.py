"""Exchanging a key for a token of the owner, and counting its use: for the gateway, on the internal port."""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from kpi_shared.api_key_form import KeyText, parse_key_text
from kpi_shared.caller import Role, Scope, key_session_id

from kpi_auth.api_keys import repository
from kpi_auth.api_keys.exchange_schemas import ExchangedKey, Refusal
from kpi_auth.api_keys.fields import RateLimit
from kpi_auth.api_keys.models import KeyUse, UsableKey
from kpi_auth.api_keys.rights import expand, scopes_of_role
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.context import Context

# The gateway asks again after 5 s at the latest, so a token need not live longer than a request may take.
LIFETIME = timedelta(seconds=60)


async def exchange(context: Context, *, texts: Sequence[str]) -> list[ExchangedKey | None]:
    """For each key a token with its scopes, as far as the owner's role allows them now; None for one that is wrong.

    A text that is not a key costs nothing, and all others together one look-up by their primary keys.
    """
    parsed = [parse_key_text(text) for text in texts]
    rows = await _find_usable(context, {key.key_id for key in parsed if key is not None})
    return [None if key is None else _grant(context, key, rows.get(key.key_id)) for key in parsed]


async def _find_usable(context: Context, key_ids: Collection[int]) -> dict[int, UsableKey]:
    if not key_ids:
        return {}
    async with context.database.direct() as connection:
        return await repository.find_usable(connection, key_ids=key_ids)


def _grant(context: Context, key: KeyText, row: UsableKey | None) -> ExchangedKey | None:
    if row is None or not context.key_hasher.matches(key, row.secret_hash):
        return None
    longest = LIFETIME.total_seconds()
    # Whole seconds, as in the token, and rounded down: it never outlives the key.
    seconds = int(longest if row.seconds_left is None else min(longest, row.seconds_left))
    return _describe(row, _mint(context, row, seconds), seconds) if seconds >= 1 else None


def _mint(context: Context, row: UsableKey, seconds: int) -> str:
    scopes = _find_scopes(row)
    return context.tokens.mint(
        user_id=row.user_id,
        username=row.username,
        # A service that does not know scopes yet must not take it for an admin's token.
        role=Role.ADMIN if Scope.ADMIN in scopes else Role.USER,
        session_id=key_session_id(row.id),
        account_version=row.account_version,
        lifetime=timedelta(seconds=seconds),
        scopes=scopes,
        api_key_ends_at=row.expires_at,
    )


def _find_scopes(row: UsableKey) -> list[Scope]:
    allowed = scopes_of_role(row.role)
    return [scope for scope in expand(row.scopes) if scope in allowed]


def _describe(row: UsableKey, token: str, seconds: int) -> ExchangedKey:
    requests, window = row.rate_limit_requests, row.rate_limit_window
    return ExchangedKey(
        access_token=token,
        expires_in=seconds,
        key_id=row.id,
        user_id=row.user_id,
        scopes=_find_scopes(row),
        allowed_networks=row.allowed_networks,
        rate_limit=RateLimit(requests=requests, window=window) if requests and window else None,
        key_expires_at=row.expires_at,
    )


async def add_uses(context: Context, *, uses: Iterable[KeyUse], refusals: Sequence[Refusal]) -> None:
    """Count the uses, in one statement, and record refused networks."""
    merged = list(_merge(uses))
    if merged:
        async with context.database.committing() as connection:
            await repository.add_uses(connection, merged)
    if refusals:
        await _record_refusals(context, refusals)


def _merge(uses: Iterable[KeyUse]) -> Iterable[KeyUse]:
    """One entry for each key: the sum, with the latest time and its address."""
    by_key: dict[int, KeyUse] = {}
    for use in uses:
        other = by_key.get(use.key_id, use)
        latest = max(use, other, key=lambda each: each.at)
        total = use.requests if other is use else use.requests + other.requests
        by_key[use.key_id] = latest._replace(requests=total)
    return by_key.values()


async def _record_refusals(context: Context, refusals: Sequence[Refusal]) -> None:
    async with context.database.writing() as connection:
        owners = await repository.get_owners(connection, key_ids=[refusal.key_id for refusal in refusals])
        for refusal in refusals:
            owner = owners.get(refusal.key_id)
            if owner is None:
                continue
            # ``address`` of the record is that of the client, not that of the gateway, which reports it.
            details = {"key_id": owner.id, "name": owner.name, "requests": refusal.count}
            await record(
                context.from_address(refusal.address),
                connection,
                Event.API_KEY_NETWORK_REFUSED,
                subject_id=owner.user_id,
                details=details,
            )
