"""The drivers of ``cache``."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="memory",
        purpose="In this process alone, bounded by the number of values",
        module="kpi_kit.cache.drivers.memory",
        forms={"memory": "memory://"},
        options=("size",),
        extra="cache",
        packages=("cashews",),
    ),
    Driver(
        name="disk",
        purpose="In a folder, shared by the processes of one machine",
        module="kpi_kit.cache.drivers.disk",
        forms={"disk": "disk:///var/cache/kpi"},
        options=("prefix", "size_mib", "soft_reads", "timeout"),
        extra="cache-disk",
        packages=("diskcache",),
    ),
    Driver(
        name="redis",
        purpose="In Redis or Valkey, shared by all processes",
        module="kpi_kit.cache.drivers.redis",
        forms={"redis": "redis://cache:6379/0", "rediss": "rediss://user:password@cache:6379/0"},
        options=("ca_file", "connections", "prefix", "soft_reads", "timeout"),
        extra="cache-redis",
        packages=("cashews", "redis"),
    ),
)
