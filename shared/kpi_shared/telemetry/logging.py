"""Structured logs on standard output: JSON lines, or coloured text for people."""

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from kpi_shared.telemetry.current_request import current_request


def configure_logging(*, part: str, level: str, form: Literal["json", "console"], stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records through one chain, to standard output if nowhere else.

    Local variables never reach a traceback in the log, since they hold passwords and tokens.
    """
    shared: list[Processor] = [
        _marked,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _naming(part),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(form)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Each request is logged once, by the middleware, with its id.
    logging.getLogger("uvicorn.access").disabled = True
    # A warning is a line like any other, and no text between them.
    logging.captureWarnings(capture=True)


def _marked(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Name the request that a line is about, wherever in its course the line is written."""
    mark = current_request.get()
    if mark is not None:
        event.setdefault("request_id", mark.request_id)
        if mark.trace_id is not None:
            event.setdefault("trace_id", mark.trace_id)
    return event


def _naming(part: str) -> Processor:
    def name(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["part"] = part
        return event

    return name


def _renderers(form: Literal["json", "console"]) -> list[Processor]:
    if form == "console":
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]
