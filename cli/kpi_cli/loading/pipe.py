"""Feeds a part's import command line by line, and reads its answers while it works."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from kpi_cli.errors import KPI, FailureError, tells_of_a_full_disk


def exchange(
    part: str, command: Sequence[str], environment: Mapping[str, str], records: Iterable[Mapping[str, object]]
) -> Iterator[dict[str, Any]]:
    """Send records as NDJSON and yield the NDJSON answers; raises FailureError when the program fails.

    A thread does the sending: a program that answers while it reads would otherwise block both sides once the
    pipes are full.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        questions, answers = _open(process.stdin), _open(process.stdout)
        feeder = threading.Thread(target=_feed, args=(questions, records), daemon=True)
        feeder.start()
        try:
            for line in answers:
                yield json.loads(line)
            code = process.wait()
            feeder.join()
        finally:
            # Ctrl-C, or an answer that cannot be read: the program must not go on alone.
            process.kill()
            process.wait()
            answers.close()
        if code:
            errors.seek(0)
            raise _failed(part, command[-1], code, errors.read().decode("utf-8", "replace"))


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise TypeError("the program was started without this pipe")
    return pipe


def _feed(pipe: IO[bytes], records: Iterable[Mapping[str, object]]) -> None:
    # A program that ended early says why by its exit code; the broken pipe is only the echo of that.
    with suppress(BrokenPipeError), pipe:
        pipe.writelines(json.dumps(record).encode() + b"\n" for record in records)


def _failed(part: str, command: str, code: int, output: str) -> FailureError:
    lines = output.splitlines()
    full = tells_of_a_full_disk(lines)
    return FailureError(
        "disk" if full else part,
        f"{'it is full: ' if full else ''}{command} ended with exit code {code}, its unfinished batch rolled back",
        log=() if full else lines[-10:],
        fix=f"{'free some space' if full else f'{KPI} doctor'}, then the same command again: it goes on where it ended",
    )
