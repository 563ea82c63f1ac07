"""The tables of drivers, and the program that lists them."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import kpi_kit
import pytest
from kpi_kit.__main__ import describe_libraries
from kpi_kit.drivers import Driver, choose_driver
from kpi_kit.errors import MissingExtraError, UrlError
from kpi_kit.events import EventBus
from kpi_kit.notify import Notifier
from kpi_kit.queue import Queue
from pydantic import SecretStr

LIBRARIES = {each["name"]: each for each in describe_libraries()}
PROJECT = tomllib.loads((Path(next(iter(kpi_kit.__path__))).parent / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
DRIVERS = [
    Driver("memory", "In this process", "kpi_kit.errors", forms={"memory": "memory://"}, options=("size",)),
    Driver("redis", "Redis", "kpi_kit.absent", forms={"redis": "redis://cache:6379", "rediss": "rediss://cache:6379"}),
]
# Every package of every extra is missing there.
BLOCKED = """
import runpy, sys
for name in {names!r}:
    sys.modules[name] = None
{code}
"""
TRY_ALL = """
for module in {modules!r}:
    try:
        __import__(module)
    except ImportError as error:
        print(module, error)
"""


def run_without_extras(code: str, *, keep: frozenset[str] = frozenset()) -> subprocess.CompletedProcess[str]:
    names = sorted(_find_packages() - keep)
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=names, code=code)], capture_output=True, text=True, check=False
    )


def _find_packages() -> set[str]:
    """The top-level imports of all requirements of the kit."""
    texts = [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    required = {re.split(r"[\[<>=; ]", text)[0].lower() for text in texts}
    tables = packages_distributions()
    return {name for name, owners in tables.items() if {owner.lower() for owner in owners} & (required - {"kpi-kit"})}


def test_the_scheme_chooses_the_driver() -> None:
    driver, parts = choose_driver(SecretStr("REDISS://:secret@host/1"), DRIVERS)
    assert (driver.name, parts.host, parts.password) == ("redis", "host", "secret")


@pytest.mark.parametrize("url", ["nats://x", "memory://?colour=1", "redis://?size=1", "", "redis"])
def test_an_unknown_scheme_or_option_is_refused_without_quoting_the_url(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        choose_driver(url.replace("://", "://name:hunter2@"), DRIVERS)
    assert "hunter2" not in str(caught.value)


def test_options_are_those_of_the_chosen_driver() -> None:
    assert choose_driver("memory://?size=1", DRIVERS)[1].options == {"size": "1"}


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_each_driver_has_a_module_an_extra_that_exists_and_urls_of_its_schemes(library: dict[str, object]) -> None:
    table = json.loads(json.dumps(library["drivers"]))
    assert len({driver["name"] for driver in table}) == len(table)
    for driver in table:
        assert driver["extra"] is None or driver["extra"] in EXTRAS
        assert driver["missing"] == []
        assert driver["purpose"]
        assert all("://" in url for url in driver["urls"])
    for row in import_module(f"kpi_kit.{library['name']}.drivers").DRIVERS:
        if row.forms:
            assert callable(row.load().create_driver)


def test_the_program_lists_what_is_missing_and_needs_none_of_it() -> None:
    result = run_without_extras("runpy.run_module('kpi_kit', run_name='__main__')")
    found = {each["name"]: each for each in json.loads(result.stdout)["libraries"]}
    assert set(found) == set(LIBRARIES)
    assert found["http"]["drivers"][0]["missing"] == ["httpx", "stamina"]


def test_libraries_and_dependencies_can_be_imported_without_any_extra() -> None:
    modules = [f"kpi_kit.{name}" for name, each in LIBRARIES.items() if each["drivers"]]
    result = run_without_extras(TRY_ALL.format(modules=[*modules, "kpi_kit.fastapi"]), keep=frozenset({"fastapi"}))
    assert (result.stdout, result.stderr) == ("", "")


def test_a_missing_package_is_an_error_that_names_the_extra() -> None:
    missing = "from kpi_kit.http import HttpClient; HttpClient.from_url('https://a')"
    result = run_without_extras(missing)
    assert "MissingExtraError: httpx is not installed: add kpi-kit[http] to the dependencies" in result.stderr
    absent = Driver("x", "", "kpi_kit.http.drivers.httpx", packages=("surely_not_installed",))
    assert absent.find_missing() == ["surely_not_installed"]
    assert find_spec("kpi_kit.absent") is None
    with pytest.raises(ModuleNotFoundError) as caught:
        DRIVERS[1].load()
    assert not isinstance(caught.value, MissingExtraError), "a module of the kit itself is no extra"


# Of each library that has a driver for it: open nothing, and return the parameters of its connections.
POSTGRESQL: dict[str, Callable[[str], Any]] = {
    "queue": lambda url: cast("Any", Queue.from_url(url))._driver._target.parameters,
    "events": lambda url: cast("Any", EventBus.from_url(url, events=[]))._driver._parameters,
    "notify": lambda url: cast("Any", Notifier.from_urls({"it": url}))._channels["it"]._own._parameters,
}
OWN = {"queue": "pool_size=9&prepared=false", "events": "group=a", "notify": ""}


@pytest.mark.parametrize("library", POSTGRESQL)
def test_each_library_reads_what_libpq_reads(library: str) -> None:
    rest = f"me:p%2Bq+r@one:1,two:2/database?options=-c%20a%3Db+c&{OWN[library]}".rstrip("&")
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        found = POSTGRESQL[library](f"{scheme}://{rest}")
        expected = {"host": "one,two", "port": "1,2", "options": "-c a=b+c", "target_session_attrs": "read-write"}
        assert expected.items() <= dict(found).items()
        assert (found["password"], found["application_name"]) == ("p+q+r", f"kpi-{library}")


@pytest.mark.parametrize("library", POSTGRESQL)
@pytest.mark.parametrize(
    "rest",
    ["//user:hid@den@host/d", "//user:hid/den@host/d", "//user:hidden@host/d?hidden=1", "//u:hidden@host:port/d", ""],
)
def test_what_libpq_cannot_read_is_not_quoted(library: str, rest: str) -> None:
    with pytest.raises(UrlError) as caught:
        POSTGRESQL[library](f"postgresql:{rest}")
    assert "hid" not in str(caught.value)
    assert caught.value.__cause__ is None
