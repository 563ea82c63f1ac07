"""Opening connections: at one host, or at the first of several that is as required."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any, Self

import psycopg

from kpi_shared.database.driver import PoolState, ServiceConnection
from kpi_shared.database.queue import Queue
from kpi_shared.database_url import connection_arguments
from kpi_shared.settings import DatabaseSettings

# For all hosts together, unless the address names a connect_timeout for each: a request waits less than 2 s.
_SECONDS = 1.5
# The least that libpq knows.
_CONNECT_TIMEOUT = "2"
# The server ends the statement of a client that has left, and frees what silent clients have locked.
_SERVER_OPTIONS = (
    "-c client_connection_check_interval=500 -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 "
    "-c tcp_keepalives_count=3 -c tcp_user_timeout=5000"
)


class Opener:
    """Opens connections with the same parameters. Of several hosts, the last good one is tried first.

    Each host gets a part of the time: otherwise a request that finds the first host silent would not reach the second.
    """

    def __init__(self, parameters: Mapping[str, str], state: PoolState, queue: Queue | None = None) -> None:
        """Without a queue, the connections belong to no pool of ``state``: they are neither watched nor doubted."""
        self._hosts = _split_hosts(parameters)
        self._state = state
        self._queue = queue

    @classmethod
    def of(cls, settings: DatabaseSettings, options: str, state: PoolState, queue: Queue | None = None) -> Self:
        url = settings.database_url.get_secret_value()
        parameters = connection_arguments(
            url,
            application_name=settings.part.program,
            options=f"{options} -c timezone=UTC",
            default_options=_SERVER_OPTIONS,
        )
        return cls(parameters, state, queue)

    async def __call__(self, _conninfo: str = "", **more: Any) -> ServiceConnection:  # noqa: ANN401 the adapters of SQLAlchemy
        began_at = monotonic()
        connection, number = await self._open(more)
        if self._queue is None:
            connection.join(PoolState(), Queue(1, timeout=0))
        else:
            if self._state.doubted_at >= began_at:
                # What was found out while it was being opened may be true of it.
                await connection.close()
                connection, number = await self._open(more)
            connection.join(self._state, self._queue)
        self._state.settle_host(number)
        # After it, so that a change of the host puts all other connections in doubt but this one.
        connection.opened_at = monotonic()
        return connection

    async def _open(self, more: Mapping[str, Any]) -> tuple[ServiceConnection, int]:
        if len(self._hosts) == 1:
            return await ServiceConnection.connect(**self._hosts[0], **more), 0
        reasons = []
        for number in sorted(range(len(self._hosts)), key=lambda number: number != self._state.host):
            try:
                async with asyncio.timeout(_SECONDS / len(self._hosts)):
                    connection = await ServiceConnection.connect(**self._hosts[number], **more)
            except (psycopg.OperationalError, TimeoutError) as error:
                reasons.append(str(error) or "connection timeout expired")
            else:
                return connection, number
        raise psycopg.OperationalError("; ".join(reasons))


def _split_hosts(parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    """The parameters for each host; all at once where the address itself says how its hosts are tried."""
    lists = {name: parameters[name].split(",") for name in ("host", "hostaddr", "port") if name in parameters}
    count = max((len(items) for items in lists.values()), default=1)
    own_order = "load_balance_hosts" in parameters or parameters.get("target_session_attrs") == "prefer-standby"
    if count == 1 or own_order or "connect_timeout" in parameters:
        return [{"connect_timeout": _CONNECT_TIMEOUT} | dict(parameters)]
    return [
        dict(parameters) | {name: items[number % len(items)] for name, items in lists.items()}
        for number in range(count)
    ]
