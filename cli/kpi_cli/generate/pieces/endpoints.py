"""An endpoint with its right: in the endpoints.py of a noun, which is made with its route if it is not there."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate import editing, steps
from kpi_cli.generate.changes import Change, Edit, NewFile, Plan
from kpi_cli.generate.fields.names import split_words
from kpi_cli.generate.pieces.additions import add_block
from kpi_cli.generate.pieces.house import (
    House,
    class_name,
    defined_names,
    find_noun,
    function_name,
    names_of_noun,
    open_house,
    sentence,
)
from kpi_cli.generate.rendering import render
from kpi_cli.generate.specifying import specify_resource
from kpi_cli.generate.specs import Access, ResourceSpec
from kpi_cli.generate.wiring import allow, include, place_noun, route

METHODS = ("get", "post", "put", "patch", "delete")
_VERBS = {"post": "create", "put": "replace", "patch": "update", "delete": "delete"}
_PATH = re.compile(r"(/[a-z0-9]+(-[a-z0-9]+)*|/\{[a-z]+(_[a-z]+)*_id\})*")
_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class _Endpoint:
    house: House
    noun: str
    words: tuple[str, ...]
    method: str
    # Behind the prefix of the noun's router.
    path: str
    prefix: str
    access: Access

    @property
    def is_of_noun(self) -> bool:
        """It is named after the noun itself."""
        return not self.path

    @property
    def function(self) -> str:
        words = (self.noun,) if self.is_of_noun else self.words
        if self.method == "get":
            return function_name(("get", *words))
        return function_name((_VERBS[self.method], *words) if self.is_of_noun else words)

    @property
    def shown(self) -> str:
        words = names_of_noun(self.noun).words if self.is_of_noun else self.words
        return class_name(words, suffix="Shown")

    @property
    def title(self) -> str:
        return sentence(names_of_noun(self.noun).plural_words if self.is_of_noun else self.words)

    @property
    def operation(self) -> str:
        return f"{self.method.upper()} {self.prefix}{self.path}"

    @property
    def right(self) -> str:
        reads = self.method == "get"
        match self.access:
            case Access.PUBLIC:
                return "public" if reads else "public-write"
            case Access.PROTECTED:
                return "read" if reads else "write"
        return "admin"

    @property
    def guard(self) -> str:
        """The type of the parameter that protects it; a public one refuses a token that is not valid."""
        if self.access is Access.ADMIN:
            return "AdminAccess"
        optional = "Optional" if self.access is Access.PUBLIC else ""
        return f"{optional}ReadAccess" if self.method == "get" else f"{optional}WriteAccess"


def plan_endpoint(  # noqa: PLR0913 each option of the command is a parameter
    checkout: Path,
    *,
    name: str,
    service: str,
    access: Access,
    noun: str | None = None,
    method: str = "get",
    path: str | None = None,
) -> Plan:
    """An endpoint of the noun that is named, of another one (``noun``), or of a new one."""
    house = open_house(checkout, service)
    spec = specify_resource(checkout, name, service=service, is_piece=True) if noun is None else None
    endpoint = _specify(house, name, spec, noun, method=method.lower(), path=path, access=access)
    changes: list[Change] = [*_begin(house, spec), *_write(endpoint)]
    return Plan(
        title=f"endpoint {endpoint.operation} of {service}",
        changes=(
            *changes,
            allow([(f"{endpoint.method.upper()} /api/v1{endpoint.prefix}{endpoint.path}", endpoint.right)]),
        ),
        steps=(steps.write_openapi,),
        notes=(f"its address at the gateway: /api/v1{endpoint.prefix}{endpoint.path}",),
    )


def _specify(  # noqa: PLR0913 what the command has
    house: House,
    name: str,
    spec: ResourceSpec | None,
    noun: str | None,
    *,
    method: str,
    path: str | None,
    access: Access,
) -> _Endpoint:
    if method not in METHODS:
        raise FailureError("make", f"{method} is no method of an endpoint; they are {', '.join(METHODS)}", code=2)
    words = split_words(name)
    if path is None:
        path = "" if spec is not None else "/" + "-".join(words)
    if not _PATH.fullmatch(path):
        sentence = f"{path!r} is no path such as /archived or /{{post_id}}/archive, whose parameters are ids of rows"
        raise FailureError("make", sentence, code=2)
    folder = spec.names.plural if spec is not None else find_noun(house, name, noun)
    prefix = _find_prefix(house, folder, f"/{spec.names.path}" if spec is not None else None)
    return _Endpoint(house=house, noun=folder, words=words, method=method, path=path, prefix=prefix, access=access)


def _find_prefix(house: House, noun: str, new: str | None) -> str:
    """The prefix of the noun's router, or ``new`` if it has no endpoints."""
    source = house.read(house.path(noun, "endpoints.py"))
    if source is None and new is not None:
        return new
    found = re.search(r'^router = Router\(prefix="([^"]*)"', source or "", re.MULTILINE)
    if found is None:
        sentence = f"{noun} has no endpoints.py with a router = Router(prefix=...)"
        raise FailureError("make", sentence, fix=f"kpi make endpoint {noun} -s {house.service.name}", code=2)
    return found[1]


def _begin(house: House, spec: ResourceSpec | None) -> Iterator[Change]:
    """The folder, the router and the routes of a noun that has none."""
    if spec is None or house.read(house.path(spec.names.plural, "endpoints.py")) is not None:
        return
    noun = spec.names.plural
    if not house.has_noun(noun):
        yield NewFile(house.path(noun, "__init__.py"), render("resource/__init__.py.j2", names=spec.names))
    router = f'router = Router(prefix="/{spec.names.path}", tags=["{spec.names.path}"])'
    imports = "from kpi_shared.http.media_types import Router"
    title = sentence(spec.names.plural_words)
    yield NewFile(house.path(noun, "endpoints.py"), f'"""{title}."""\n\n{imports}\n\n{router}\n')
    yield place_noun(spec, house.checkout)
    yield include(spec, title)
    yield route(spec)


def _write(endpoint: _Endpoint) -> Iterator[Change]:
    house, noun = endpoint.house, endpoint.noun
    yield Edit(house.path(noun, "endpoints.py"), partial(_add_endpoint, endpoint=endpoint))
    if endpoint.method == "get":
        block = render("pieces/endpoint_schema.py.j2", shown=endpoint.shown)
        docstring = f"The bodies of requests and responses about {names_of_noun(noun).plural_title}."
        imports = ["from pydantic import BaseModel"]
        yield add_block(house, house.path(noun, "schemas.py"), docstring=docstring, imports=imports, block=block)
    yield NewFile(house.test_path(noun, f"test_{endpoint.function}.py"), _render_test(endpoint))


def _add_endpoint(source: str, *, endpoint: _Endpoint) -> str:
    """Before the other endpoints, so that a path with a parameter does not match this one's first."""
    parameters, imports = _parameters(endpoint, source)
    block = render(
        "pieces/endpoint.py.j2",
        method=endpoint.method,
        path=endpoint.path,
        function=endpoint.function,
        parameters=parameters,
        shown=endpoint.shown,
        title=endpoint.title,
        description=_describe(endpoint),
    ).strip()
    if endpoint.function in defined_names(source):
        _require_equal(source, block, endpoint)
        return source
    for line in imports:
        source = editing.add_import(source, line)
    if re.search(r"^@router\.", source, re.MULTILINE):
        return editing.add_line_before(source, r"^@router\.", f"{block}\n\n")
    return f"{source.rstrip()}\n\n\n{block}\n"


def _describe(endpoint: _Endpoint) -> str:
    return (
        f"Get {endpoint.title.lower()}" if endpoint.method == "get" else sentence(tuple(endpoint.function.split("_")))
    )


def _require_equal(source: str, block: str, endpoint: _Endpoint) -> None:
    new = ast.parse(block).body[0]
    there = [node for node in ast.parse(source).body if getattr(node, "name", None) == endpoint.function]
    if [ast.dump(node) for node in there] != [ast.dump(new)]:
        sentence = f"{endpoint.noun} has another {endpoint.function} in its endpoints.py already"
        raise FailureError("make", sentence, fix="choose another name", code=2)


def _parameters(endpoint: _Endpoint, source: str) -> tuple[list[str], list[str]]:
    """The parameters of the function, and the imports that it needs."""
    parameters, imports = [], []
    for name in _PARAMETER.findall(endpoint.path):
        known = "".join(word.capitalize() for word in name.split("_"))
        kind = known if known in defined_names(source) else "RowId"
        parameters.append(f"{name}: {kind}")
        if kind == "RowId":
            imports.append("from kpi_shared.records.schemas import RowId")
    parameters.append(f"_caller: {endpoint.guard}")
    imports += [
        f"from kpi_shared.security import {endpoint.guard}",
        "from kpi_shared.errors import UnauthenticatedError",
        "from kpi_shared.http.openapi import problems",
    ]
    if endpoint.method == "get":
        imports.append(f"from {endpoint.house.service.package}.{endpoint.noun}.schemas import {endpoint.shown}")
    return parameters, imports


def _render_test(endpoint: _Endpoint) -> str:
    conftest = endpoint.house.read(endpoint.house.test_path("conftest.py")) or ""
    caller = ""
    if endpoint.access is not Access.PUBLIC:
        known = "admin" if endpoint.access is Access.ADMIN else "anna"
        caller = known if f"def {known}(" in conftest else "accounts"
    is_account = caller == "accounts"
    return render(
        "pieces/test_endpoint.py.j2",
        operation=endpoint.operation,
        function=endpoint.function,
        method=endpoint.method,
        address=_PARAMETER.sub("1", f"{endpoint.prefix}{endpoint.path}"),
        access=str(endpoint.access),
        title=endpoint.title,
        caller=caller,
        fixture="" if not caller else "accounts: Accounts" if is_account else f"{caller}: Caller",
        headers="" if not caller else "account.headers" if is_account else f"{caller}.headers",
    )
