"""Structured logs on standard output: JSON lines, or coloured text for terminals."""

import atexit
import logging
import re
import sys
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from kpi_shared.telemetry.current_request import current_request
from kpi_shared.telemetry.log_writer import LogWriter

log = structlog.get_logger(__name__)

# Only loggers of our packages may log details: those of these two, and of the part itself.
_LIBRARIES = ("kpi_shared", "kpi_kit")
_OUR_PREFIX = "kpi_"
# The form of API keys, for which scanners look, and what a line has in its place.
_KEY = re.compile(r"(kpi_(?:live|test)_[1-9][0-9]{0,18}_)[0-9A-Za-z]{49}")
_MASKED = r"\1***"
# By file descriptor.
_writers: dict[int, LogWriter] = {}


def configure_logging(*, part: str, level: str, form: Literal["json", "console"], stream: TextIO | None = None) -> None:
    """Send the records of structlog and of the standard library through one chain; ``stream`` is standard output.

    ``part`` is the name of its program, ``kpi-auth``, whose package is ``kpi_auth``.

    Tracebacks in the log have no local variables, since these may hold passwords and tokens.
    """
    shared: list[Processor] = [
        _add_request,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _part_adder(part),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_non_blocking(stream or sys.stdout))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(form), _mask_keys],
        )
    )
    handler.addFilter(_is_ours_or_no_detail)
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries have no lower level than INFO: at DEBUG, botocore logs a whole secret.
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level]))
    for package in (*_LIBRARIES, part.replace("-", "_")):
        logging.getLogger(package).setLevel(level if level == "DEBUG" else logging.NOTSET)
    # The middleware logs each request, with its id.
    logging.getLogger("uvicorn.access").disabled = True
    # At INFO it logs each request that this process makes.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It logs each of its modules at INFO when it is imported, and some parts import it only after this.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    # Warnings become log lines, too.
    logging.captureWarnings(capture=True)


def _is_ours_or_no_detail(record: logging.LogRecord) -> bool:
    """Also for a library that sets the level of its own logger, or whose user does."""
    return record.levelno >= logging.INFO or record.name.startswith(_OUR_PREFIX)


def dropped_lines() -> int:
    """How many log lines of this process were not written because nothing read them."""
    return sum(writer.dropped for writer in _writers.values())


def _non_blocking(stream: TextIO) -> TextIO | LogWriter:
    """The writer of standard output or error; any other stream is as it is: it is a file of a test, or in memory."""
    with suppress(OSError, AttributeError):
        file = stream.fileno()
        if file in {1, 2}:
            return _writers.get(file) or _create_writer(file)
    return stream


def _create_writer(file: int) -> LogWriter:
    writer = _writers[file] = LogWriter(file, _report_dropped)
    atexit.register(writer.drain)
    return writer


def _report_dropped(count: int) -> None:
    log.warning("log lines dropped", count=count)


def _add_request(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Add the ids of the current request, in whatever layer the line is written."""
    current = current_request.get()
    if current is not None:
        event.setdefault("request_id", current.request_id)
        if current.trace_id is not None:
            event.setdefault("trace_id", current.trace_id)
    return event


def _mask_keys(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 the line, after the renderer
    """A client may put an API key into the path or another text that is logged."""
    return _KEY.sub(_MASKED, line) if "kpi_" in line else str(line)


def _part_adder(part: str) -> Processor:
    def add_part(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["part"] = part
        return event

    return add_part


def _renderers(form: Literal["json", "console"]) -> list[Processor]:
    if form == "console":
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]
