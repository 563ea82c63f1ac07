"""The drivers of ``queue``."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="postgresql",
        purpose="Jobs in the service's database, run by any of its processes",
        module="kpi_kit.queue.drivers.postgresql",
        forms={
            "postgresql": "postgresql://user:password@host:5432/database",
            "postgres": "postgres://user:password@host:5432/database",
            "postgresql+psycopg": "postgresql+psycopg://user:password@host:5432/database",
        },
        options=("pool_size", "lost_after", "poll", "prepared", "timeout"),
        is_libpq=True,
        extra="queue",
        packages=("procrastinate", "psycopg", "psycopg_pool"),
    ),
    Driver(
        name="memory",
        purpose="Jobs in this process alone, lost at its end",
        module="kpi_kit.queue.drivers.memory",
        forms={"memory": "memory://"},
    ),
    Driver(
        name="sync",
        purpose="Each job is run at once, before push returns",
        module="kpi_kit.queue.drivers.sync",
        forms={"sync": "sync://"},
    ),
)
