"""The SQL of the outlets."""

from collections.abc import Sequence
from datetime import timedelta

from kpi_shared.database import AnyRow
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.outlets.models import Outlet

# By the database's clock, so that no clocks of replicas are compared.
_take = text("""
    INSERT INTO outlets (name, holder, leased_until) VALUES (:name, :holder, now() + :seconds)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, leased_until = excluded.leased_until
    WHERE outlets.holder IS NULL OR outlets.holder = excluded.holder OR outlets.leased_until < now()
    RETURNING seq
""")
# What the receiver has acknowledged stays acknowledged, even if the lease has passed to another process meanwhile.
_acknowledge = text("""
    UPDATE outlets SET
        seq = greatest(seq, :seq),
        acknowledged_at = now(),
        leased_until = CASE WHEN holder = :holder THEN now() + :seconds ELSE leased_until END,
        state = 'working',
        state_at = CASE WHEN state = 'working' THEN state_at ELSE now() END,
        last_error = NULL
    WHERE name = :name
    RETURNING coalesce(holder = :holder, false)
""")
_release = text("UPDATE outlets SET holder = NULL, leased_until = NULL WHERE name = :name AND holder = :holder")
_fail = text("""
    UPDATE outlets SET
        holder = NULL,
        leased_until = NULL,
        state = 'failing',
        state_at = CASE WHEN state = 'failing' THEN state_at ELSE now() END,
        last_error = :error
    WHERE name = :name AND holder = :holder
""")
_get_seq = text("SELECT seq FROM outlets WHERE name = :name")
_get_least_needed = text("SELECT min(seq) FROM outlets WHERE acknowledged_at >= now() - :kept")
_get_all = select(
    col(Outlet.name),
    col(Outlet.seq),
    col(Outlet.holder),
    col(Outlet.state),
    col(Outlet.state_at),
    col(Outlet.acknowledged_at),
    col(Outlet.last_error),
).order_by(col(Outlet.name))


async def take(connection: AsyncConnection, *, name: str, holder: str, seconds: float) -> int | None:
    """Take or renew the lease; returns the last event that was acknowledged, or None while another process has it."""
    values = {"name": name, "holder": holder, "seconds": timedelta(seconds=seconds)}
    seq: int | None = await connection.scalar(_take, values)
    return seq


async def acknowledge(connection: AsyncConnection, *, name: str, holder: str, seq: int, seconds: float) -> bool:
    """Store that every event up to ``seq`` was acknowledged, and renew the lease; False if it has passed to another."""
    values = {"name": name, "holder": holder, "seq": seq, "seconds": timedelta(seconds=seconds)}
    return bool(await connection.scalar(_acknowledge, values))


async def release(connection: AsyncConnection, *, name: str, holder: str) -> None:
    await connection.execute(_release, {"name": name, "holder": holder})


async def fail(connection: AsyncConnection, *, name: str, holder: str, error: str) -> None:
    """Release the outlet and store why it does not work."""
    await connection.execute(_fail, {"name": name, "holder": holder, "error": error})


async def get_seq(connection: AsyncConnection, *, name: str) -> int:
    """The last event that was acknowledged; 0 where the outlet is new."""
    return int(await connection.scalar(_get_seq, {"name": name}) or 0)


async def get_least_needed(connection: AsyncConnection, *, kept: timedelta) -> int | None:
    """Events after this one are still needed; None if no outlet has delivered anything within ``kept``."""
    least: int | None = await connection.scalar(_get_least_needed, {"kept": kept})
    return least


async def get_all(connection: AsyncConnection) -> Sequence[AnyRow]:
    return (await connection.execute(_get_all)).all()
