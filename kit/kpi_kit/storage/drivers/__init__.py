"""The drivers of ``storage``."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="local",
        purpose="A folder of this machine",
        module="kpi_kit.storage.drivers.local",
        forms={"file": "file:///var/lib/app/files"},
        options=("public_url",),
    ),
    Driver(
        name="s3",
        purpose="A bucket of S3, or of a store with the same interface",
        module="kpi_kit.storage.drivers.s3",
        forms={"s3": "s3://bucket/prefix?region=eu-central-1"},
        options=("region", "endpoint", "public_url", "timeout"),
        extra="storage-s3",
        packages=("boto3",),
    ),
    Driver(
        name="memory",
        purpose="In this process alone",
        module="kpi_kit.storage.drivers.memory",
        forms={"memory": "memory://"},
        options=("public_url",),
    ),
)
