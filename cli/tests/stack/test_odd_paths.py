"""Checkouts whose paths, locales and umasks are unusual: the real commands, with stand-ins for the parts."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import Checkout
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout, find
from kpi_cli.stack import postgres, processes, vault

SHELL = 'it\'s $HOME `id` "q" back\\slash'
URL = "50%25 a#b?c&d;e:f@g"
LETTERS = "späße 文件 é"
NOT_UTF8 = os.fsdecode(b"latin-\xe4")


@pytest.fixture
def odd_checkout(empty_checkout: Checkout, request: pytest.FixtureRequest) -> Iterator[Checkout]:
    """An empty checkout in a folder of the name that is the test's parameter."""
    folder = empty_checkout.folder / request.param
    folder.mkdir()
    checkout = Checkout(folder)
    yield checkout
    processes.end_orphans(checkout.home)
    processes.end_postmaster(checkout.home / "postgres")


@pytest.mark.parametrize(
    ("odd_checkout", "settings"),
    [
        (SHELL, {}),
        (URL, {}),
        (LETTERS, {"LC_ALL": "C"}),
        (LETTERS, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (NOT_UTF8, {"LC_ALL": "C.UTF-8"}),
    ],
    indirect=["odd_checkout"],
    ids=["shell", "url", "letters-c", "letters-ascii", "not-utf8"],
)
def test_a_stack_starts_and_its_status_is_printed(odd_checkout: Checkout, settings: dict[str, str]) -> None:
    stack = odd_checkout.up(**settings).wait_until_ready()
    results = [odd_checkout.kpi("status", **settings), odd_checkout.kpi("doctor", **settings)]
    assert stack.get("/") == b"ok"
    assert stack.stop() == 0
    assert "Traceback" not in stack.errors
    for result in results:
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
    assert odd_checkout.processes() == []


def test_a_stack_starts_with_a_strict_umask(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("migrate", umask=0o077)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def odd_programs(empty_checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PostgreSQL's programs in a folder whose name a shell does not read as it is."""
    package = postgres.programs().parents[1]
    place = empty_checkout.folder / SHELL
    for name in (package.name, f"{package.name}.libs"):
        if (package.parent / name).exists():
            shutil.copytree(package.parent / name, place / name)
    folder = place / postgres.programs().relative_to(package.parent)
    monkeypatch.setattr(postgres, "programs", lambda: folder)
    return folder


@pytest.mark.usefixtures("odd_programs")
def test_data_is_created_by_programs_in_such_a_folder(empty_checkout: Checkout) -> None:
    layout = Layout(checkout=empty_checkout.folder, home=empty_checkout.home)
    vault.ensure(layout.secrets)
    account = postgres.prepare_account(layout, print)
    assert postgres.initialise(layout, account) is True
    assert (layout.data / "PG_VERSION").exists()


@pytest.mark.usefixtures("odd_programs")
def test_no_other_folder_for_them_is_one_sentence(
    empty_checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layout = Layout(checkout=empty_checkout.folder, home=empty_checkout.home)
    (tmp_path / "a$b").mkdir()
    monkeypatch.setattr(postgres.tempfile, "tempdir", str(tmp_path / "a$b"))
    vault.ensure(layout.secrets)
    with pytest.raises(FailureError) as caught:
        postgres.initialise(layout, postgres.prepare_account(layout, print))
    assert "must not contain any of these characters" in caught.value.sentence
    assert str(tmp_path) in caught.value.sentence
    assert caught.value.fix == "TMPDIR=/tmp make up, or move the checkout"


def test_the_log_that_a_failure_names_exists_and_has_all_lines(
    empty_checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(checkout=empty_checkout.folder, home=empty_checkout.home)
    layout.logs.mkdir()
    initdb = empty_checkout.folder / "initdb"
    initdb.write_text("#!/bin/sh\nfor n in $(seq 20); do echo line $n; done\nprintf 'caf\\351\\n'\nexit 1\n")
    initdb.chmod(0o755)
    monkeypatch.setattr(postgres, "programs", lambda: empty_checkout.folder)
    vault.ensure(layout.secrets)
    with pytest.raises(FailureError) as caught:
        postgres.initialise(layout, postgres.SystemUser())
    log = layout.logs / "postgres.log"
    assert f"(all are in {log})" in caught.value.fix
    assert caught.value.log[-1] == "caf\ufffd"
    assert [f"line {number}" for number in range(1, 21)] == log.read_text().splitlines()[:20]


def test_packages_of_this_checkout_are_found_by_relative_paths() -> None:
    # Python before 3.13 reads these files with the locale's encoding, and does not start when that fails.
    files = [*(find().checkout / ".venv").glob("lib/python*/site-packages/kpi_*.pth")]
    assert files
    assert not [file.name for file in files if Path(file.read_text().strip()).is_absolute()]
