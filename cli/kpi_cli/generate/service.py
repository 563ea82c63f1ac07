"""``kpi make service``: a folder in the form of the other services, and the rows by which the platform knows it."""

import keyword
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpi_cli import PRODUCT
from kpi_cli.errors import FailureError
from kpi_cli.generate import service_edits, steps
from kpi_cli.generate.changes import Change, Edit, NewFile, Plan
from kpi_cli.generate.fields.words import SQL_RESERVED
from kpi_cli.generate.locks import derive_lock, find_inner
from kpi_cli.generate.rendering import render
from kpi_cli.layout import ANSWERS
from kpi_cli.parts import PARTS, Part

_NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")
# Their package, their setting NAME_URL, or their name in docker-compose.yml means something else.
_TAKEN = {
    *("shared", "cli", "kit", "bench", "drill", "kpi", "test", "tests", "newcomer"),
    *("public", "mail", "database", "supabase", "listen_database", "auth_internal", "rate_limit_storage"),
    *("postgres", "databases", "secrets", "keys", "mails", "data", "inside", "outside"),
}
# Red and its likes come last: they look like trouble.
_COLOURS = (33, 34, 96, 92, 95, 94, 93, 91, 31)
_FIRST_PORT = 8003
_TEMPLATES = {
    "pyproject.toml": "pyproject.toml",
    "Dockerfile": "Dockerfile",
    ".importlinter": "importlinter",
    "migrations/env.py": "migrations_env.py",
    "{package}/__init__.py": "package/__init__.py",
    "{package}/__main__.py": "package/__main__.py",
    "{package}/app.py": "package/app.py",
    "{package}/asgi.py": "package/asgi.py",
    "{package}/housekeeping.py": "package/housekeeping.py",
    "{package}/idempotency/models.py": "package/idempotency_models.py",
    "{package}/seeding/__init__.py": "package/seeding.py",
    "{package}/settings.py": "package/settings.py",
    "{package}/tables.py": "package/tables.py",
    "tests/conftest.py": "tests/conftest.py",
    "tests/{name}_test_settings.py": "tests/shared_settings.py",
    "tests/test_examples.py": "tests/test_examples.py",
    "tests/test_health.py": "tests/test_health.py",
    "tests/test_settings.py": "tests/test_settings.py",
    "tests/test_surface.py": "tests/test_surface.py",
}
_EMPTY = ("{package}/py.typed", "{package}/idempotency/__init__.py")
# These are the same in each service.
_COPIED = ("alembic.ini", "migrations/script.py.mako")


@dataclass(frozen=True)
class NewService:
    """A service and its row in the table of parts."""

    part: Part
    checkout: Path

    @property
    def class_name(self) -> str:
        return "".join(word.capitalize() for word in self.part.name.split("_"))

    @property
    def title(self) -> str:
        return self.part.name.replace("_", " ")

    @property
    def values(self) -> dict[str, object]:
        """What the templates print."""
        part = self.part
        return {
            "name": part.name,
            "package": part.package,
            "class_name": self.class_name,
            "title": self.title,
            "port": part.port,
            "uid": part.uid,
            "product": PRODUCT,
        }


def plan_service(name: str, checkout: Path) -> Plan:
    """FailureError with exit code 2 for a name that no new service can have."""
    _check_name(name)
    service = NewService(find_part(name), checkout)
    folder = service.part.folder
    decision = _find_decision(service)
    plan = Plan(
        title=f"service {name}",
        changes=(*_list_files(service), *_write_decision(service, decision), *_list_edits(service)),
        steps=(steps.write_migration(folder, "idempotency keys"), steps.write_examples, steps.write_commands),
        notes=(
            "install it before its tests are run (make up does so, too): make install",
            f"say why it is a service of its own: {decision}",
            f"give it a first resource: kpi make resource Thing -s {name} -f title:string:required",
        ),
    )
    _check_folder(service, plan)
    return plan


def _check_name(name: str) -> None:
    reason = ""
    if not _NAME.fullmatch(name):
        reason = "a name has 2 to 31 characters, of a-z, 0-9 and _, and begins with a letter"
    elif name in SQL_RESERVED or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        reason = "it is a word of Python or SQL"
    elif name in _TAKEN or (name in {part.name for part in PARTS} and not get_part(name).follows_events):
        reason = "the platform has something else of that name"
    if reason:
        raise FailureError("make", f"a service cannot be named {name!r}: {reason}", fix="choose another name", code=2)


def get_part(name: str) -> Part:
    return next(part for part in PARTS if part.name == name)


def find_part(name: str) -> Part:
    """Its row in the table of parts, or the one that it gets, whose port and user no other part has."""
    if name in {part.name for part in PARTS}:
        return get_part(name)
    taken = {part.port for part in PARTS} | {8011}
    used = Counter(part.colour for part in PARTS)
    return Part(
        name=name,
        package=f"kpi_{name}",
        folder=f"services/{name}",
        port=next(port for port in range(_FIRST_PORT, 9000) if port not in taken),
        # Once all are used, they begin again.
        colour=min(_COLOURS, key=used.__getitem__),
        uid=max(part.uid for part in PARTS) + 1,
        has_database=True,
        needs_token_key=True,
        follows_events=True,
    )


def _list_files(service: NewService) -> Iterator[NewFile]:
    folder, package = service.part.folder, service.part.package
    for path, template in _TEMPLATES.items():
        text = render(f"service/{template}.j2", **service.values)
        yield NewFile(f"{folder}/{path.format(package=package, name=service.part.name)}", text)
    for path in _EMPTY:
        yield NewFile(f"{folder}/{path.format(package=package)}", "")
    like = _find_example(service.checkout)
    for path in _COPIED:
        yield NewFile(f"{folder}/{path}", (like / path).read_text(encoding="utf-8"))
    known = (like / "requirements.txt").read_text(encoding="utf-8")
    lock = derive_lock(known, root="kpi-shared", inner=find_inner(service.checkout))
    yield NewFile(f"{folder}/requirements.txt", lock)


def _find_example(checkout: Path) -> Path:
    """The folder of a service that exists, with the files that all of them have."""
    found = [path.parent for path in sorted((checkout / "services").glob("*/alembic.ini"))]
    if not found:
        raise FailureError("make", "this checkout has no service, and a new one takes files from another", code=2)
    return found[0]


def _find_decision(service: NewService) -> str:
    """The path of the stub about the service: that of before, or the next number."""
    folder = service.checkout / "docs" / "adr"
    end = f"-{service.part.name.replace('_', '-')}-service.md"
    names = sorted(path.name for path in folder.glob("[0-9][0-9][0-9][0-9]-*.md"))
    known = next((name for name in names if name.endswith(end) and name[4:] == end), None)
    # Those of the platform, which a project of one's own has too, are numbered below.
    least = 1001 if (service.checkout / ANSWERS).exists() else 1
    number = max([least, *(int(name[:4]) + 1 for name in names)])
    return f"docs/adr/{known or f'{number:04}{end}'}"


def _write_decision(service: NewService, path: str) -> Iterator[NewFile]:
    """Nothing where the stub exists: it is there to be rewritten."""
    if not (service.checkout / path).exists():
        number = int(Path(path).name[:4])
        reference = next(iter(sorted((service.checkout / "docs" / "adr").glob("*-services-from-a-folder.md"))), None)
        name = reference.name if reference is not None else ""
        yield NewFile(path, render("service/adr.md.j2", number=number, reference=name, **service.values))


def _list_edits(service: NewService) -> Iterator[Change]:
    part = service.part
    edits = {
        "cli/kpi_cli/parts.py": service_edits.add_part,
        "gateway/kpi_gateway/settings.py": service_edits.add_address,
        "docker-compose.yml": service_edits.add_containers,
        "docs/architecture.md": service_edits.add_to_table,
    }
    for path, edit in edits.items():
        # A project of one's own may have left out what it does not need.
        if not path.startswith("docs/") or (service.checkout / path).exists():
            yield Edit(path, lambda text, edit=edit: edit(text, part))  # type: ignore[misc]


def _check_folder(service: NewService, plan: Plan) -> None:
    """Refuse a name whose folder has another service, or one that has been worked on."""
    folder = service.checkout / service.part.folder
    if service.part in PARTS and not all(
        (service.checkout / change.path).is_file() for change in plan.changes if isinstance(change, NewFile)
    ):
        sentence = f"there is a service {service.part.name} already, in {service.part.folder}"
        raise FailureError("make", sentence, fix="choose another name", code=2)
    if service.part not in PARTS and folder.exists() and any(path.is_file() for path in folder.rglob("*.py")):
        sentence = f"{service.part.folder} exists, and is no part of the platform"
        raise FailureError("make", sentence, fix="rename it, or choose another name", code=2)
