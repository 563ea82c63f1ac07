"""The command ``python -m kpi_auth bootstrap``: the first admin, by an operator who has access to the database."""

from typing import Any

from kpi_shared.database import Database

from kpi_auth.bootstrap import service
from kpi_auth.bootstrap.schemas import Bootstrap
from kpi_auth.commands import open_context, run
from kpi_auth.settings import AuthSettings


def bootstrap(settings: AuthSettings) -> int:
    """Make the first admin and a key with all rights; no code is needed."""
    return run(settings, Bootstrap, _bootstrap)


async def _bootstrap(settings: AuthSettings, database: Database, wanted: Bootstrap) -> dict[str, Any]:
    with open_context(settings, database) as context:
        made = await service.bootstrap_here(context, wanted=wanted)
    return service.bootstrapped(made, wanted).model_dump(mode="json")
