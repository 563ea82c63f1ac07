"""Client generators of other projects: how each is called, and how its client is compiled and run."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PYTHON = ROOT / ".kpi" / "clients" / "python"
NODE = ROOT / ".kpi" / "clients" / "node"
_PATIENCE_SECONDS = 120

# Words that mark a warning or an error in the output of a generator.
_WARNING = re.compile(r"warn|error|exception|skipp|missing|cannot|unable|not supported|deprecat|⚠|❌", re.IGNORECASE)

# An undefined name in an annotation is found only when the module is imported.
_IMPORT_ALL = """
import importlib, kpi_client, pkgutil
for module in pkgutil.walk_packages(kpi_client.__path__, "kpi_client."):
    importlib.import_module(module.name)
"""


class Language(StrEnum):
    PYTHON = "python"
    TYPESCRIPT = "node"


@dataclass(frozen=True)
class Result:
    """A program's exit code and everything that it printed."""

    command: Sequence[str]
    code: int
    output: str

    def require_success(self) -> None:
        assert self.code == 0, f"{' '.join(self.command)}\nexit code {self.code}:\n{self.output[-6000:]}"


def run(*command: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> Result:
    """Run a program with the installed tools first in PATH."""
    path = os.pathsep.join([str(PYTHON / "bin"), str(NODE / "node_modules" / ".bin"), os.environ["PATH"]])
    words = [str(word) for word in command]
    found = shutil.which(words[0], path=path)
    assert found is not None, f"{words[0]} is not installed"
    ended = subprocess.run(
        [found, *words[1:]],
        cwd=folder,
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), "NO_COLOR": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
    )
    return Result(words, ended.returncode, ended.stdout)


@dataclass(frozen=True, eq=False)
class Generator:
    """A generator and the script that uses its client; ``{document}`` and ``{folder}`` are filled into the command."""

    name: str
    command: Sequence[str]
    flow: str
    # Patterns of lines that do not depend on the document, each with its reason.
    ignored: Mapping[str, str] = field(default_factory=dict)

    @property
    def language(self) -> Language:
        return Language.TYPESCRIPT if self.flow.endswith(".ts") else Language.PYTHON

    def generate(self, document: Path, folder: Path) -> Result:
        words = [word.format(document=document, folder=folder) for word in self.command]
        return run(*words, folder=folder)

    def warnings(self, output: str) -> list[str]:
        lines = [line for line in output.splitlines() if not any(re.search(known, line) for known in self.ignored)]
        return [line for line in lines if _WARNING.search(line)]

    def check(self, folder: Path) -> Sequence[Result]:
        """Compile the generated code, and type-check the flow against it."""
        shutil.copy(HERE / self.language / self.flow, folder)
        return self._check_typescript(folder) if self.language is Language.TYPESCRIPT else self._check_python(folder)

    def run_flow(self, folder: Path, address: str) -> Result:
        """Run the flow against a gateway."""
        if self.language is Language.TYPESCRIPT:
            return run("node", f"built/{Path(self.flow).stem}.js", address, folder=folder)
        return run("python", "-W", "error", self.flow, address, folder=folder)

    def _check_python(self, folder: Path) -> Sequence[Result]:
        # The types inside the generated code are the generator's responsibility; only their use is checked.
        mypy = ("mypy", "--strict", "--follow-imports=silent", "--cache-dir=.mypy", self.flow)
        return [
            run("python", "-W", "error", "-m", "compileall", "-q", "kpi_client", folder=folder),
            run("python", "-W", "error", "-c", _IMPORT_ALL, folder=folder),
            run(*mypy, folder=folder),
        ]

    def _check_typescript(self, folder: Path) -> Sequence[Result]:
        settings = (HERE / "node" / "tsconfig.json").read_text("utf-8")
        (folder / "tsconfig.json").write_text(settings.replace("flow.ts", self.flow), "utf-8")
        # tsc type-checks everything, and writes JavaScript even when it finds type errors.
        return [run("tsc", "--project", "tsconfig.json", folder=folder)]


_OPENAPI_GENERATOR = ("openapi-generator-cli", "generate", "-i", "{document}")
_IGNORED_OF_OPENAPI_GENERATOR = {
    r"OpenAPI 3\.1 support is still in beta": "printed for every OpenAPI 3.1 document",
    r"ModelUtils - Failed to get the schema name: null$": "printed for any schema with additionalProperties",
    r"\bINFO\b.* writing file ": "file names such as exceptions.py",
}

GENERATORS = [
    Generator(
        "openapi-python-client",
        (
            *("openapi-python-client", "generate", "--path", "{document}", "--meta", "none"),
            *("--output-path", "kpi_client", "--config", str(HERE / "python" / "openapi_python_client.yaml")),
        ),
        "with_openapi_python_client.py",
    ),
    Generator(
        "openapi-generator-python",
        (*_OPENAPI_GENERATOR, "-g", "python", "--package-name", "kpi_client", "-o", "{folder}"),
        "with_openapi_generator.py",
        ignored=_IGNORED_OF_OPENAPI_GENERATOR,
    ),
    Generator(
        "openapi-generator-typescript-axios",
        (*_OPENAPI_GENERATOR, "-g", "typescript-axios", "-o", "{folder}/generated"),
        "with_typescript_axios.ts",
        ignored=_IGNORED_OF_OPENAPI_GENERATOR,
    ),
    Generator(
        "hey-api-openapi-ts",
        ("openapi-ts", "--input", "{document}", "--output", "generated"),
        "with_hey_api.ts",
    ),
    Generator(
        "openapi-typescript",
        ("openapi-typescript", "{document}", "--output", "generated/schema.d.ts"),
        "with_openapi_fetch.ts",
    ),
]


def reason_to_skip(language: Language) -> str | None:
    """Why clients of this language cannot be generated on this machine, or None."""
    if language is Language.TYPESCRIPT:
        return None if (NODE / ".installed").exists() else "Node.js 20.19 or newer with npm is not installed"
    return None if (PYTHON / ".installed").exists() else "make clients-test installs the generators"
