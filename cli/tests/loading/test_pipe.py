"""Records that are sent to a program which responds while it reads."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.loading import pipe


def break_off() -> Iterator[Mapping[str, object]]:
    yield {"line": 1}
    raise FailureError("user", "users.csv: Input/output error")


def test_records_that_break_off_are_no_end_to_the_program(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    # It must not take the broken off input for the whole: then it would store it.
    command = ["sh", "-c", f"cat && touch {ended}"]
    with pytest.raises(FailureError, match="Input/output error"):
        list(pipe.send("auth", command, os.environ, break_off()))
    assert not ended.exists()


def test_a_program_that_fails_says_what_another_run_does() -> None:
    failed = pipe.Failed("all are stored or none", "it adds none twice")
    with pytest.raises(FailureError, match="exit code 7; all are stored or none") as raised:
        list(pipe.send("auth", ["sh", "-c", "exit 7"], os.environ, [{}], failed=failed))
    assert raised.value.fix.endswith("run the same command again: it adds none twice")
