"""Sends records to a part's import command line by line, and reads its responses while it works."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple

from kpi_cli.errors import KPI, FailureError, reports_full_disk


class Failed(NamedTuple):
    """What a program that failed has left behind, and what another run does with it."""

    state: str
    again: str


_BATCHES = Failed("its unfinished batch was rolled back", "it continues where it stopped")


def send(
    part: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    records: Iterable[Mapping[str, object]],
    *,
    accept: tuple[int, ...] = (0,),
    failed: Failed = _BATCHES,
) -> Iterator[dict[str, Any]]:
    """Send records as NDJSON and yield the NDJSON responses; FailureError for an exit code that is not to be accepted.

    The records are sent by a thread: a program that responds while it reads would otherwise block both sides once the
    pipes are full. What ``records`` raises is raised here, after the program was killed: to close its input would tell
    it that these are all.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        requests, responses = _require(process.stdin), _require(process.stdout)
        sender = _Sender(process, requests, records)
        sender.start()
        try:
            for line in responses:
                yield json.loads(line)
            code = process.wait()
            sender.finish()
        finally:
            # After Ctrl-C or an unreadable response the program must not go on alone.
            process.kill()
            process.wait()
            responses.close()
        if code not in accept:
            errors.seek(0)
            raise _failure(part, command[-1], code, errors.read().decode("utf-8", "replace"), failed)


def _require(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise TypeError("the program was started without this pipe")
    return pipe


class _Sender(threading.Thread):
    def __init__(
        self, process: "subprocess.Popen[bytes]", pipe: IO[bytes], records: Iterable[Mapping[str, object]]
    ) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._pipe = pipe
        self._records = records
        self._error: BaseException | None = None

    def run(self) -> None:
        # A program that ended early reports why by its exit code; the broken pipe is only a consequence.
        with suppress(BrokenPipeError), self._pipe:
            try:
                self._pipe.writelines(json.dumps(record).encode() + b"\n" for record in self._records)
            except BrokenPipeError:
                raise
            except BaseException as error:  # noqa: BLE001 it is raised where the responses are read
                self._error = error
                self._process.kill()
                self._process.wait()

    def finish(self) -> None:
        """Wait until all is sent; raises what the records have raised."""
        self.join()
        if self._error is not None:
            raise self._error


def _failure(part: str, command: str, code: int, output: str, failed: Failed) -> FailureError:
    lines = output.splitlines()
    full = reports_full_disk(lines)
    first = "free some space" if full else f"{KPI} doctor"
    return FailureError(
        "disk" if full else part,
        f"{'it is full: ' if full else ''}{command} ended with exit code {code}; {failed.state}",
        log=() if full else lines[-10:],
        fix=f"{first}, then run the same command again: {failed.again}",
    )
