"""``kpi docs``, ``version``, ``libs`` and ``completion``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_harness import Checkout
from kpi_cli import parts
from kpi_cli.operations import completion
from kpi_cli.operations.completion import Shell

USAGE = '"""Sends mails.\n\nfrom kpi_kit.mail import send\n"""\n'


def test_the_pages_of_the_checkout_are_listed_and_those_of_the_stack_while_it_runs(checkout: Checkout) -> None:
    stopped = checkout.kpi("docs", "--json")
    found = json.loads(stopped.stdout)
    assert found["api"] == {}
    assert "How KPI-One is built" in [page["title"] for page in found["pages"]]
    stack = checkout.up().wait_until_ready()
    running = checkout.kpi("docs")
    assert f"{checkout.status()['gateway_url']}/docs\t" in running.stdout
    # The variable names a program that can open a page.
    assert checkout.kpi("docs", "--open", BROWSER="/bin/true").returncode == 0
    assert stack.stop() == 0
    without = checkout.kpi("docs", "--open")
    assert (without.returncode, without.stdout) == (1, "")


def test_the_page_of_commands_is_written_and_compared(empty_checkout: Checkout) -> None:
    file = empty_checkout.folder / "commands.md"
    missing = empty_checkout.kpi("docs", "--check", str(file))
    written = empty_checkout.kpi("docs", "--write", str(file), "--json")
    current = empty_checkout.kpi("docs", "--check", str(file))
    assert (missing.returncode, current.returncode) == (1, 0)
    assert json.loads(written.stdout) == {"written": str(file)}
    assert "## kpi routes\n" in file.read_text()
    assert empty_checkout.kpi("docs", "--check", "a", "--write", "b").returncode == 2


def test_all_versions_are_printed(empty_checkout: Checkout) -> None:
    found = json.loads(empty_checkout.kpi("version", "--json").stdout)
    assert set(found["parts"]) == {part.name for part in parts.PARTS}
    assert found["postgresql"].startswith("18.")
    assert all([found["kpi"], found["python"], *found["parts"].values()])
    lines = empty_checkout.kpi("version").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["kpi", "python", "postgresql", "git", *found["parts"]]


def test_without_the_kit_that_is_said_and_with_it_the_libraries_are_listed(empty_checkout: Checkout) -> None:
    without = empty_checkout.kpi("libs")
    assert without.returncode == 1
    assert "is not part of this version" in without.stderr
    library = empty_checkout.folder / "kpi_kit" / "mail" / "__init__.py"
    library.parent.mkdir(parents=True)
    library.write_text(USAGE)
    (empty_checkout.folder / "kpi_kit" / "__init__.py").touch()
    path = f"{empty_checkout.settings['PYTHONPATH']}:{empty_checkout.folder}"
    assert empty_checkout.kpi("libs", PYTHONPATH=path).stdout == "mail: Sends mails.\n"
    assert "from kpi_kit.mail import send" in empty_checkout.kpi("libs", "mail", "--usage", PYTHONPATH=path).stdout
    assert empty_checkout.kpi("libs", "cache", PYTHONPATH=path).returncode == 2


def test_bash_completes_commands_options_and_values(empty_checkout: Checkout) -> None:
    """As bash calls the function, with the command by a path, as people type it."""
    script = empty_checkout.kpi("completion", "bash").stdout
    lines = [("ro",), ("config", "cont"), ("routes", "--access", "p"), ("user", "create", "x", "--role", "")]
    calls = "\n".join(
        f"COMP_WORDS=('$KPI' {' '.join(repr(word) for word in words)}); COMP_CWORD={len(words)}\n"
        '_kpi_completion "$KPI"; echo "${COMPREPLY[@]}"'
        for words in lines
    )
    program = empty_checkout.folder / "bin" / "kpi"
    program.parent.mkdir()
    program.symlink_to(Path(sys.executable).parent / "kpi")
    result = subprocess.run(
        ["bash", "-c", f"{script}\n{calls}"],
        env=empty_checkout.environment(KPI=str(program)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == ["routes", "content", "public person", "user admin"]


@pytest.mark.parametrize("shell", list(Shell))
def test_scripts_call_the_command_that_is_typed(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    completion.print_script(shell, as_json=False)
    script = capsys.readouterr().out
    caller = {Shell.BASH: "complete_bash $1", Shell.ZSH: "${~words[1]}", Shell.FISH: "(commandline -opc)[1]"}[shell]
    assert caller in script
    assert f"{completion.VARIABLE}=complete_{shell} kpi" not in script


def test_parts_services_logs_and_seeders_are_offered() -> None:
    assert completion.complete_part("g") == ["gateway"]
    assert completion.complete_service("") == [part.name for part in parts.WITH_DATABASE]
    assert completion.complete_log("p") == ["postgres"]
    assert {"users", "posts"} <= set(completion.complete_seeder(""))
