"""Which loggers may log details: those of our packages, and no library's."""

import io
import json
import logging
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
import structlog
from kpi_shared.telemetry.logging import configure_logging

LIBRARIES = sorted(
    {name for name in packages_distributions() if name.isidentifier() and not name.startswith("kpi_")}
    | {"asyncio", "concurrent.futures", "py.warnings", "sqlalchemy.engine.Engine", "botocore.parsers", "uvicorn.error"}
)


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(part="kpi-some", level="DEBUG", form="json", stream=stream)
    yield stream
    root.handlers, root.level = before
    configure_logging(part="kpi-some", level="INFO", form="json", stream=stream)
    root.handlers = before[0]
    root.setLevel(before[1])


@pytest.mark.parametrize("set_by_the_library", [False, True])
def test_no_library_logs_below_info(output: io.StringIO, set_by_the_library: bool) -> None:
    assert {"botocore", "psycopg", "sqlalchemy", "httpx", "uvicorn"} <= set(LIBRARIES)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        before, logger.level = logger.level, logging.DEBUG if set_by_the_library else logger.level
        logger.debug("a secret of %s", name)
        logger.level = before
    assert output.getvalue() == ""


def test_libraries_log_information(output: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("started")
    assert json.loads(output.getvalue())["event"] == "started"


@pytest.mark.parametrize("package", ["kpi_shared", "kpi_kit", "kpi_some"])
def test_our_packages_log_details(output: io.StringIO, package: str) -> None:
    structlog.stdlib.get_logger(f"{package}.module").debug("a detail")
    logging.getLogger(f"{package}.other").debug("another")
    events = [json.loads(line)["event"] for line in output.getvalue().splitlines()]
    assert events == ["a detail", "another"]


def test_no_line_has_the_text_of_a_key(output: io.StringIO) -> None:
    key = f"kpi_live_42_{'aB3' * 16}x"
    structlog.stdlib.get_logger("kpi_shared.module").info("request", path=f"/posts?key={key}", part=key)
    logging.getLogger("uvicorn.error").warning("refused %s", key)
    try:
        int(key)
    except ValueError:
        logging.getLogger("kpi_shared.other").exception("failed")
    assert key not in output.getvalue()
    assert [json.loads(line)["event"] for line in output.getvalue().splitlines()] == [
        "request",
        "refused kpi_live_42_***",
        "failed",
    ]
