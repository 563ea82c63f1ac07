"""The OpenAPI document of a running stack, and the clients generated from it, once per session."""

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
    """The output of a generator, and the results of compiling it."""

    generator: Generator
    folder: Path
    generated: Result
    checked: Sequence[Result]


@pytest.fixture(scope="session")
def document(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    response = httpx.get(f"{stack.gateway}/openapi.json", timeout=30)
    # Indented, so that the line numbers in a linter's report are useful.
    file.write_text(json.dumps(response.raise_for_status().json(), indent=2), "utf-8")
    return file


@pytest.fixture(scope="session")
def make_client(document: Path) -> Iterator[Callable[[Generator], Client]]:
    # Node.js looks for packages in the folders above a program.
    workspace = Path(tempfile.mkdtemp(prefix="made-", dir=NODE if NODE.is_dir() else ROOT / ".kpi"))

    @cache
    def make(generator: Generator) -> Client:
        folder = workspace / generator.name
        folder.mkdir()
        generated = generator.generate(document, folder)
        return Client(generator, folder, generated, generator.check(folder))

    yield make
    shutil.rmtree(workspace)


@pytest.fixture(params=GENERATORS, ids=lambda generator: generator.name)
def generated_client(request: pytest.FixtureRequest, make_client: Callable[[Generator], Client]) -> Client:
    generator: Generator = request.param
    if reason := reason_to_skip(generator.language):
        pytest.skip(reason)
    return make_client(generator)
