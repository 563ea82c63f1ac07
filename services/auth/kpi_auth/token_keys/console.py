"""The command ``python -m kpi_auth keys``: who holds which keys of the tokens, and the end of one."""

from typing import Any

from kpi_shared.database import Database

from kpi_auth.commands import open_context, run
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.lifetimes import Lifetimes
from kpi_auth.token_keys import service
from kpi_auth.token_keys.schemas import KeysCommand


def manage_keys(settings: AuthSettings) -> int:
    """List the holders of keys, or kill a key."""
    return run(settings, KeysCommand, _manage)


async def _manage(settings: AuthSettings, database: Database, command: KeysCommand) -> dict[str, Any]:
    with open_context(settings, database) as context:
        if command.kid is not None:
            return {"killed": command.kid, "is_new": await service.kill(context, kid=command.kid)}
        # Of the processes that mint: the settings of this shell may be others.
        own = int(Lifetimes.of(settings).access.total_seconds())
        seconds = await service.find_longest_life(context) or own
        killed = await service.list_killed(context)
        return {"holders": await service.list_holders(context), "killed": killed, "token_seconds": seconds}
