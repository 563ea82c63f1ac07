"""What tests read from the log of a part that runs."""

import json
import threading
from pathlib import Path

from kpi_shared.testing.process import read_log, wait_for_records


def record(**values: object) -> str:
    return json.dumps(values) + "\n"


def test_a_log_is_read_without_its_incomplete_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(record(event="request", path="/a") + record(event="other") + '{"event": "requ')
    assert read_log(log) == [{"event": "request", "path": "/a"}, {"event": "other"}]
    assert read_log(log, event="request") == [{"event": "request", "path": "/a"}]


def test_records_that_are_written_late_are_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(record(event="request"))

    def write() -> None:
        with log.open("a") as file:
            file.write(record(event="other") + record(event="request"))

    late = threading.Timer(0.1, write)
    late.start()
    assert len(wait_for_records(log, 2, event="request")) == 2
    late.join()
