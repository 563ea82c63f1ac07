"""The document of a running platform, and the client that each generator makes of it, once for all tests."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import pytest
from clients.tools import GENERATORS, NODE, ROOT, Generator, Result, reason_to_skip
from stack import Stack


@dataclass(frozen=True)
class Client:
    """What a generator made, and how the compilers took it."""

    generator: Generator
    folder: Path
    generated: Result
    checked: Sequence[Result]


@pytest.fixture(scope="session")
def document(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    response = httpx.get(f"{stack.gateway}/openapi.json", timeout=30)
    # Line by line, so that a linter's report names a place that can be found.
    file.write_text(json.dumps(response.raise_for_status().json(), indent=2), "utf-8")
    return file


@pytest.fixture(scope="session")
def make_client(document: Path) -> Iterator[Callable[[Generator], Client]]:
    # Node finds packages in the folders above a program.
    workshop = Path(tempfile.mkdtemp(prefix="made-", dir=NODE if NODE.is_dir() else ROOT / ".kpi"))

    @cache
    def make(generator: Generator) -> Client:
        folder = workshop / generator.name
        folder.mkdir()
        generated = generator.generate(document, folder)
        return Client(generator, folder, generated, generator.check(folder))

    yield make
    shutil.rmtree(workshop)


@pytest.fixture(params=GENERATORS, ids=lambda generator: generator.name)
def generated_client(request: pytest.FixtureRequest, make_client: Callable[[Generator], Client]) -> Client:
    generator: Generator = request.param
    if reason := reason_to_skip(generator.language):
        pytest.skip(reason)
    return make_client(generator)
