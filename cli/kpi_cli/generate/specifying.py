"""From the words of a command to what it asks for, checked against what the checkout has."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kpi_cli.errors import FailureError, suggest
from kpi_cli.generate.fields.names import inflect_words, parse_names, split_words
from kpi_cli.generate.fields.parsing import parse_fields
from kpi_cli.generate.fields.references import check_reference
from kpi_cli.generate.services import get_service
from kpi_cli.generate.specs import Access, FieldSpec, ForeignKey, Kind, Names, ResourceSpec, ServiceSpec

# What a noun may be meant to belong to that is no table of its service.
_ACCOUNTS = {"accounts", "authors", "owners", "users"}
# Addresses that the gateway and each service serve themselves.
_SERVED_EVERYWHERE = {"api", "docs", "health", "metrics", "redoc"}


def choose_access(*, public: bool, protected: bool, admin: bool) -> Access | None:
    """The one that is set; FailureError with exit code 2 for two of them."""
    chosen = [access for access, is_set in zip(Access, (public, protected, admin), strict=True) if is_set]
    if len(chosen) > 1:
        raise FailureError("make", f"--{chosen[0]} and --{chosen[1]} contradict each other", code=2)
    return chosen[0] if chosen else None


def specify_resource(  # noqa: PLR0913 each option of the command is a parameter
    checkout: Path,
    name: str,
    *,
    service: str,
    fields: Iterable[str] | None = None,
    belongs_to: Iterable[str] | None = None,
    plural: str | None = None,
    soft_deletes: bool = False,
    public: bool = False,
    protected: bool = False,
    admin: bool = False,
    is_piece: bool = False,
    noun: str | None = None,
) -> ResourceSpec:
    """FailureError with exit code 2 for what is not valid, or taken by something else in the checkout.

    ``is_piece``: the noun, or the one that it goes into (``noun``), may be there, with other files.
    """
    # What needs neither the checkout nor inflect, which takes long to import, comes first.
    access = choose_access(public=public, protected=protected, admin=admin) or Access.PROTECTED
    parsed = parse_fields(fields or ())
    spec = get_service(checkout, service)
    names = parse_names(name, plural=plural)
    tables = dict(find_tables(checkout, spec))
    if not (is_piece and (checkout / spec.folder / spec.package / (noun or names.plural) / "__init__.py").exists()):
        _check_names(checkout, spec, names, tables)
    parents = [_belong_to(table) for table in belongs_to or ()]
    _check_foreign([*parents, *parsed], spec, names, tables)
    if twice := {field.name for field in parents} & {field.name for field in parsed}:
        raise FailureError("make", f"there are two fields named {twice.pop()}", code=2)
    return ResourceSpec(
        names=names,
        service=spec,
        fields=(*parents, *(field for field in parsed if field.kind is not Kind.OWNER)),
        owner=next((field.name for field in parsed if field.kind is Kind.OWNER), None),
        access=access,
        soft_deletes=soft_deletes,
        belongs_to=tuple(field.foreign.table for field in parents if field.foreign),
    )


def find_tables(checkout: Path, service: ServiceSpec) -> Iterator[tuple[str, str]]:
    """The tables of a service, each with the text of the models.py that it stands in."""
    for file in sorted((checkout / service.folder / service.package).glob("*/models.py")):
        text = file.read_text(encoding="utf-8")
        yield from ((table, text) for table in re.findall(r'(?m)^    __tablename__ = "(\w+)"', text))


def _check_names(checkout: Path, service: ServiceSpec, names: Names, tables: dict[str, str]) -> None:
    package = checkout / service.folder / service.package
    models = package / names.plural / "models.py"
    gateway = checkout / "gateway" / "kpi_gateway" / "settings.py"
    routes = re.findall(r'prefix="/([\w-]+)", upstream="(\w+)"', gateway.read_text(encoding="utf-8"))
    server = dict(routes).get(names.path, service.name)
    taken = f"{names.plural} is a folder of {service.package} that is no resource"
    if (package / f"{names.plural}.py").exists():
        problem = f"{service.package} has a module {names.plural}"
    elif names.path in _SERVED_EVERYWHERE:
        problem = f"the address /{names.path} is served by every part"
    elif server != service.name:
        problem = f"the address /{names.path} is served by {server}"
    elif names.plural in tables and not models.exists():
        problem = f"{service.name} has a table {names.plural}, of another noun"
    elif models.parent.exists() and any(models.parent.glob("*.py")) and not models.exists():
        problem = taken
    else:
        return
    raise FailureError("make", f"the name {names.class_name} is taken: {problem}", fix="choose another name", code=2)


def _belong_to(text: str) -> FieldSpec:
    """The field of ``--belongs-to posts``, or ``Post``."""
    singular, plural = inflect_words(split_words(text))
    return FieldSpec(
        name=f"{'_'.join(singular)}_id",
        kind=Kind.BIGINT,
        required=True,
        foreign=ForeignKey(table="_".join(plural), column="id", cascades=True),
    )


def _check_foreign(fields: Iterable[FieldSpec], service: ServiceSpec, names: Names, tables: dict[str, str]) -> None:
    """Refuse what PostgreSQL would: a table of another service, or a column that is not there."""
    for field in fields:
        if field.foreign is None:
            continue
        table = field.foreign.table
        if table == names.plural:
            # Whether the table is there already makes no difference.
            sentence = f"it refers to its own table {table}, and the tests and the seeder fill other tables first"
            fix = "leave it out, then add it to models.py by hand, and kpi make migration"
            raise FailureError(f"field {field.name}", sentence, fix=fix, code=2)
        if table not in tables:
            others = f"its tables are {', '.join(tables)}{suggest(table, tables)}"
            sentence = f"{service.name} has no table {table}; {others}"
            fix = "the account that makes a row is -f owner:owner" if table in _ACCOUNTS else ""
            raise FailureError(f"field {field.name}", sentence, fix=fix, code=2)
        check_reference(field, tables[table])
