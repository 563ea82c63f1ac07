"""New names for the components of a document: in references, and wherever else a component is named."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_SCHEMES = "#/components/securitySchemes/"
# Keywords by which generators and references may name a schema in addition to its key.
_NAMES = ("title", "$anchor", "$dynamicAnchor")


def rename_component(reference: str, definition: Json, names: Mapping[str, str]) -> Json:
    """A component under its name of ``names``, old references to new ones. A title that repeats the name follows it:
    generators name classes after titles, and drop what has the name of another.
    """
    renamed: Json = rename_references(definition, names)
    old, new = (_name(it) for it in (reference, names[reference]))
    return renamed | {key: new for key in _NAMES if old != new and renamed.get(key) == old}


def rename_references(node: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 any JSON value
    """A copy with new references, in ``$ref`` as well as in discriminators."""
    if isinstance(node, str):
        return names.get(node, node)
    if isinstance(node, list):
        return [rename_references(value, names) for value in node]
    if isinstance(node, dict):
        copy = {key: rename_references(value, names) for key, value in node.items()}
        if isinstance(node.get("discriminator"), dict) and (mapping := _rename_mapping(node, names)):
            copy["discriminator"]["mapping"] = mapping
        return copy
    return node


def rename_schemes(requirement: Json, names: Mapping[str, str]) -> Json:
    """A security requirement, which refers to schemes by their bare names."""
    return {names.get(_SCHEMES + name, name).removeprefix(_SCHEMES): scopes for name, scopes in requirement.items()}


def anchors(names: Mapping[str, str], components: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """References to the anchors of renamed components that are named like these."""
    for old, new in names.items():
        if _name(old) in {components[old].get("$anchor"), components[old].get("$dynamicAnchor")}:
            yield f"#{_name(old)}", f"#{_name(new)}"


def _rename_mapping(node: Json, names: Mapping[str, str]) -> Json:
    """The values of a discriminator, each with its schema. One without an entry is the name of its schema, which a
    renamed schema no longer has; and an entry may be a bare name as well as a reference.
    """
    implicit = {}
    for choice in [*node.get("oneOf", ()), *node.get("anyOf", ())]:
        reference = choice.get("$ref", "")
        if names.get(reference, reference) != reference:
            implicit[_name(reference)] = reference
    mapping = node["discriminator"].get("mapping", {})
    covered = {target if "/" in target else _SCHEMAS + target for target in mapping.values()}
    complete = mapping | {value: target for value, target in implicit.items() if target not in covered}
    return {value: _rename_target(target, names) for value, target in complete.items()}


def _rename_target(target: str, names: Mapping[str, str]) -> str:
    return names.get(target) or names.get(_SCHEMAS + target, target)


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
