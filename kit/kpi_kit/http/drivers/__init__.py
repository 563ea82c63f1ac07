"""The drivers of ``http``."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="httpx",
        purpose="HTTP/1.1 over a pool of connections",
        module="kpi_kit.http.drivers.httpx",
        forms={"https": "https://api.example.com/v1", "http": "http://stock:8080"},
        extra="http",
        packages=("httpx", "stamina"),
    ),
)
