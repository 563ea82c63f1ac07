"""``kpi docs``, ``version``, ``libs`` and ``completion``."""

import json
import subprocess
import sys
from pathlib import Path

import kpi_kit
import pytest
from cli_harness import Checkout
from kpi_cli import parts
from kpi_cli.errors import FailureError
from kpi_cli.operations import completion, libraries
from kpi_cli.operations.completion import Shell


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


def test_the_libraries_of_the_kit_are_listed_with_their_drivers_and_usages(empty_checkout: Checkout) -> None:
    found = {each["name"]: each for each in json.loads(empty_checkout.kpi("libs", "--json").stdout)["libraries"]}
    assert len(found) == 9
    http = found["http"]["drivers"][0]
    assert (http["name"], http["extra"], http["missing"]) == ("httpx", "http", [])
    listed = empty_checkout.kpi("libs").stdout
    assert f"http\thttpx\t{found['http']['purpose']}" in listed.splitlines()
    assert "https://api.example.com/v1 or http://stock:8080" in empty_checkout.kpi("libs", "http").stdout
    usage = Path(next(iter(kpi_kit.__path__)), "http", "usage.py").read_text()
    assert empty_checkout.kpi("libs", "http", "--usage").stdout == usage


def test_a_driver_that_is_not_installed_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    redis = {"name": "redis", "purpose": "", "urls": ["redis://a"], "options": [], "extra": "cache-redis"}
    kit = {"name": "cache", "purpose": "A cache.", "usage": None, "drivers": [{**redis, "missing": ["redis"]}]}
    monkeypatch.setattr(libraries, "_ask", lambda: [kit])
    libraries.print_libraries(None, usage=False, as_json=False)
    libraries.print_libraries("cache", usage=False, as_json=False)
    printed = capsys.readouterr().out
    assert "cache\tredis (not installed)\tA cache." in printed
    assert "redis\tno: add kpi-kit[cache-redis]\tredis://a" in printed


def test_what_is_wrong_with_a_call_of_libs_is_said(empty_checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = empty_checkout.kpi("libs", "htp")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "did you mean http?" in unknown.stderr
    assert empty_checkout.kpi("libs", "--usage").returncode == 2
    monkeypatch.setattr(libraries, "_KIT", "kpi_absent")
    with pytest.raises(FailureError, match="not installed"):
        libraries.print_libraries(None, usage=False, as_json=False)


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
