import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kpi_cli.stack import processes


@pytest.fixture
def unrelated(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of another checkout."""
    environment = {**os.environ, processes.MARK: str(tmp_path / "elsewhere")}
    with subprocess.Popen(["sleep", "600"], env=environment) as process:
        yield process
        process.kill()


def test_unrelated_process_with_the_pid_of_a_stale_postmaster_file_is_left_alone(
    tmp_path: Path, unrelated: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{unrelated.pid}\n{tmp_path}\n")
    assert processes.end_postmaster(tmp_path) is False
    assert unrelated.poll() is None
    assert not (tmp_path / "postmaster.pid").exists()


def test_processes_of_other_checkouts_are_left_alone(tmp_path: Path, unrelated: subprocess.Popen[bytes]) -> None:
    assert processes.end_orphans(tmp_path) == 0
    assert unrelated.poll() is None


def test_orphan_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    environment = {**os.environ, processes.MARK: str(tmp_path)}
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()
        assert processes.end_orphans(tmp_path) >= 1
        assert not psutil.pid_exists(orphan.pid)
