"""The drivers of ``events``."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="memory",
        purpose="In this process alone",
        module="kpi_kit.events.drivers.memory",
        forms={"memory": "memory://"},
    ),
    Driver(
        name="postgresql",
        purpose="In tables of a database, which an event enters together with what it is about",
        module="kpi_kit.events.drivers.postgresql",
        forms={
            "postgresql": "postgresql://user:password@host:5432/database",
            "postgres": "postgres://user:password@host:5432/database",
            "postgresql+psycopg": "postgresql+psycopg://user:password@host:5432/database",
        },
        options=("group", "keep_days", "timeout"),
        is_libpq=True,
        extra="database",
        packages=("psycopg",),
    ),
    Driver(
        name="nats",
        purpose="In a stream of NATS JetStream",
        module="kpi_kit.events.drivers.nats",
        forms={"nats": "nats://host:4222", "tls": "tls://user:password@host:4222"},
        options=("group", "keep_days", "stream", "timeout"),
        extra="events-nats",
        packages=("nats",),
    ),
)
