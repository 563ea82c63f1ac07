"""Sends records to a part's import command line by line, and reads its responses while it works."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from kpi_cli.errors import KPI, FailureError, reports_full_disk


def send(
    part: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    records: Iterable[Mapping[str, object]],
    *,
    accept: tuple[int, ...] = (0,),
) -> Iterator[dict[str, Any]]:
    """Send records as NDJSON and yield the NDJSON responses; FailureError for an exit code that is not to be accepted.

    The records are sent by a thread: a program that responds while it reads would otherwise block both sides once the
    pipes are full.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        requests, responses = _require(process.stdin), _require(process.stdout)
        sender = threading.Thread(target=_write, args=(requests, records), daemon=True)
        sender.start()
        try:
            for line in responses:
                yield json.loads(line)
            code = process.wait()
            sender.join()
        finally:
            # After Ctrl-C or an unreadable response the program must not go on alone.
            process.kill()
            process.wait()
            responses.close()
        if code not in accept:
            errors.seek(0)
            raise _failure(part, command[-1], code, errors.read().decode("utf-8", "replace"))


def _require(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise TypeError("the program was started without this pipe")
    return pipe


def _write(pipe: IO[bytes], records: Iterable[Mapping[str, object]]) -> None:
    # A program that ended early reports why by its exit code; the broken pipe is only a consequence.
    with suppress(BrokenPipeError), pipe:
        pipe.writelines(json.dumps(record).encode() + b"\n" for record in records)


def _failure(part: str, command: str, code: int, output: str) -> FailureError:
    lines = output.splitlines()
    full = reports_full_disk(lines)
    first = "free some space" if full else f"{KPI} doctor"
    return FailureError(
        "disk" if full else part,
        f"{'it is full: ' if full else ''}{command} ended with exit code {code}; its unfinished batch was rolled back",
        log=() if full else lines[-10:],
        fix=f"{first}, then run the same command again: it continues where it stopped",
    )
