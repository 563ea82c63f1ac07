"""Files of a resource alone, by the same templates: its table, its SQL, its rules, its factory and seeder."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate import steps
from kpi_cli.generate.changes import Change, NewFile, Plan
from kpi_cli.generate.fields.catalogue import code_of
from kpi_cli.generate.pieces.additions import add_block
from kpi_cli.generate.pieces.house import House, defined_names, find_class, find_noun, open_house
from kpi_cli.generate.resource import render_module
from kpi_cli.generate.seeding import plan_seeding as plan_seeding_module
from kpi_cli.generate.specifying import specify_resource
from kpi_cli.generate.specs import ResourceSpec
from kpi_cli.generate.wiring import place_noun


def plan_model(  # noqa: PLR0913 each option of the command is a parameter
    checkout: Path,
    *,
    name: str,
    service: str,
    fields: Sequence[str] | None = None,
    belongs_to: Sequence[str] | None = None,
    soft_deletes: bool = False,
    noun: str | None = None,
) -> Plan:
    """A table with its migration: of a new noun, or a further one of the noun ``noun``."""
    house = open_house(checkout, service)
    noun = noun and find_noun(house, name, noun)
    spec = specify_resource(
        checkout,
        name,
        service=service,
        fields=fields or (),
        belongs_to=belongs_to or (),
        soft_deletes=soft_deletes,
        is_piece=True,
        noun=noun,
    )
    made = steps.write_migration(spec.service.folder, spec.names.plural.replace("_", " "))
    if noun is not None:
        changes: tuple[Change, ...] = (_add_model(house, noun, spec),)
    else:
        noun = spec.names.plural
        changes = (*_begin_noun(house, spec), NewFile(house.path(noun, "models.py"), _render("models", spec)))
    return Plan(title=f"model {spec.names.class_name} in {service}/{noun}", changes=changes, steps=(made,))


def _render(module: str, spec: ResourceSpec) -> str:
    return render_module(module, spec)


def _begin_noun(house: House, spec: ResourceSpec) -> Iterator[Change]:
    """The folder of a noun that is not there yet, and its place in the order of imports."""
    if not house.has_noun(spec.names.plural):
        yield NewFile(house.path(spec.names.plural, "__init__.py"), _render("__init__", spec))
    yield place_noun(spec, house.checkout)


def _add_model(house: House, noun: str, spec: ResourceSpec) -> Change:
    """The table behind those of the noun: what the template of a models.py makes, without its beginning."""
    tree = ast.parse(text := _render("models", spec))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    block = "\n".join(text.splitlines()[imports[-1].end_lineno :])
    path = house.path(noun, "models.py")
    return add_block(house, path, docstring="", imports=[ast.unparse(node) for node in imports], block=block)


def plan_repository(
    checkout: Path, *, name: str, service: str, fields: Sequence[str] | None = None, soft_deletes: bool = False
) -> Plan:
    """The SQL of a noun that has a table; its schemas and errors, if they are not there."""
    house, spec = _open_noun(checkout, name, service, fields, soft_deletes=soft_deletes)
    repository = NewFile(house.path(spec.names.plural, "repository.py"), _render("repository", spec))
    return Plan(title=f"repository of {spec.names.plural} in {service}", changes=(*_needed(house, spec), repository))


def plan_service_layer(
    checkout: Path, *, name: str, service: str, fields: Sequence[str] | None = None, soft_deletes: bool = False
) -> Plan:
    """What endpoints call to change something; the repository, schemas and errors, if they are not there."""
    house, spec = _open_noun(checkout, name, service, fields, soft_deletes=soft_deletes)
    noun = spec.names.plural
    changes = list(_needed(house, spec))
    repository = house.read(house.path(noun, "repository.py"))
    if repository is None:
        changes.append(NewFile(house.path(noun, "repository.py"), _render("repository", spec)))
    elif noun not in defined_names(repository):
        sentence = f"the repository of {noun} has no {noun} = Records(...), which the rules would use"
        raise FailureError("make", sentence, code=2)
    layer = NewFile(house.path(noun, "service.py"), _render("service", spec))
    return Plan(title=f"service layer of {noun} in {service}", changes=(*changes, layer))


def _open_noun(
    checkout: Path,
    name: str,
    service: str,
    fields: Sequence[str] | None,
    *,
    belongs_to: Sequence[str] | None = None,
    soft_deletes: bool = False,
) -> tuple[House, ResourceSpec]:
    house = open_house(checkout, service)
    spec = specify_resource(
        checkout,
        name,
        service=service,
        fields=fields or (),
        belongs_to=belongs_to or (),
        soft_deletes=soft_deletes,
        is_piece=True,
    )
    models = house.read(house.path(spec.names.plural, "models.py"))
    if models is None or find_class(models, spec.names.class_name) is None:
        sentence = f"{service} has no table {spec.names.plural} of a class {spec.names.class_name}"
        raise FailureError("make", sentence, fix=f"kpi make model {name} -s {service} -f FIELD", code=2)
    if not spec.fields:
        sentence = f"the fields of {spec.names.plural} are needed for this"
        raise FailureError("make", sentence, fix="give them as to kpi make model: -f title:string:required", code=2)
    return house, spec


def _needed(house: House, spec: ResourceSpec) -> Iterator[Change]:
    """The schemas and errors of the noun, if they are not there."""
    noun, name = spec.names.plural, spec.names.class_name
    schemas = house.read(house.path(noun, "schemas.py"))
    if schemas is None:
        yield NewFile(house.path(noun, "schemas.py"), _render("schemas", spec))
    elif missing := {f"{name}Public", f"{name}Create"} - defined_names(schemas):
        raise FailureError("make", f"the schemas.py of {noun} has no {' and no '.join(sorted(missing))}", code=2)
    errors = house.read(house.path(noun, "errors.py"))
    if errors is None:
        yield NewFile(house.path(noun, "errors.py"), _render("errors", spec))
    elif f"{name}NotFoundError" not in defined_names(errors):
        raise FailureError("make", f"the errors.py of {noun} has no {name}NotFoundError", code=2)


def plan_seeding(
    checkout: Path,
    *,
    name: str,
    service: str,
    fields: Sequence[str] | None = None,
    belongs_to: Sequence[str] | None = None,
) -> Plan:
    """The factory of a noun and its seeder, which are one module; the schemas and errors, if they are not there."""
    house, spec = _open_noun(checkout, name, service, fields, belongs_to=belongs_to)
    seeding = plan_seeding_module(spec, [code_of(field, spec.names) for field in spec.fields])
    changes = (seeding, *_needed(house, spec))
    return Plan(
        title=f"factory and seeder of {spec.names.plural} in {service}",
        changes=changes,
        notes=(f"kpi db seed -s {service} --seeder {spec.names.plural} --count 50",),
    )
