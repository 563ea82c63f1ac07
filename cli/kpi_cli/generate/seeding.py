"""The factory and the seeder of a noun, as they come with a resource and alone."""

from collections.abc import Mapping, Sequence

from kpi_cli.generate.changes import NewFile
from kpi_cli.generate.fields.code import FieldCode
from kpi_cli.generate.rendering import render
from kpi_cli.generate.specs import Names, ResourceSpec, ServiceSpec


def plan_seeding(spec: ResourceSpec, fields: Sequence[FieldCode]) -> NewFile:
    """``seeding/products.py`` of the service."""
    links = {field.name: f"{field.foreign.table}.{field.foreign.column}" for field in spec.fields if field.foreign}
    after = [field.foreign.table for field in spec.fields if field.foreign]
    if spec.owner is not None:
        knows_authors = spec.service.has_authors
        links[f"{spec.owner}_id"] = "authors.id" if knows_authors else ""
        after += ["authors"] if knows_authors else []
    return render_seeder(spec.names, spec.service, fields, links=links, after=after)


def render_seeder(
    names: Names,
    service: ServiceSpec,
    fields: Sequence[FieldCode],
    *,
    links: Mapping[str, str],
    after: Sequence[str] = (),
) -> NewFile:
    """``links`` are the columns that take their values from other tables; an empty place: accounts of auth."""
    text = render(
        "resource/seeding.py.j2",
        names=names,
        service=service,
        fields=[field for field in fields if not field.is_file and field.name not in links],
        links=links,
        after=sorted(set(after)),
    )
    return NewFile(f"{service.folder}/{service.package}/seeding/{names.plural}.py", text)
