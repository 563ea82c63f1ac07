"""A module as a generated resource has it: table, bodies and query, with the fields of these texts."""

import ast
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from kpi_cli.generate.fields.catalogue import code_of
from kpi_cli.generate.fields.code import FieldCode
from kpi_cli.generate.fields.names import parse_names
from kpi_cli.generate.fields.parsing import parse_fields

NAMES = parse_names("Product")
# Each kind with the rules that it has, at least one of them near an edge.
MIX = r"""
title:string:required,max:200
code:string:unique,min:3,max:3
note:string:default:it's a "note": 100% :x \n
label:string:default:a "note": 100% :x \n
initial:string:min:1,max:1,index
body:text:required,min:5,max:20
remark:text
hint:text:default:a
stock:integer:ge:0,default:0
rank:integer:gt:-5,lt:-1,required
level:integer:min:7,max:7
any_int:integer
views:bigint:required
post_id:bigint:required,foreign:posts.id
temperature:float
rating:float:ge:0,le:5
ratio:float:gt:0,lt:1,default:0.5
debt:float:lt:-10
weight:decimal:gt:0
offset:decimal:ge:-1.5,lt:-1.25
part_weight:decimal:ge:0,le:5
loss:money:lt:0
price:money:required,ge:0
fee:money:ge:0.01,le:0.03,default:0.02
profit:money
discount:percent:max:50
share:percent:gt:0,lt:100,required
active:boolean:default:true
is_new:boolean:required
maybe:boolean:index
starts_at:datetime:required,index
ends_at:datetime:default:2026-03-31T10:30:00+02:00
born_on:date:unique
due_on:date:default:2026-03-31
opens_at:time
closes_at:time:default:18:30
contact:email:required,unique
reply_to:email:default:a@example.com
website:url:required
home:url:default:https://example.com
ref:uuid:unique
parent_id:uuid:foreign:parents.id
batch:uuid:default:6f0b5f0a-6c8e-4d3f-9d55-3b1c1f1f7c01
tags:json:required
settings:json:default:'{"a": [1, null, "%s :x"]}'
options:json:default:'{"a": [1, null, "it''s %s :x"]}'
phone:phone:required
fax:phone:default:+4930123456
tag:slug:foreign:tags.slug
sku:slug:required,unique
part:slug:min:2,max:5
last_ip:ip:unique
host:ip:default:2001:db8::1
first_ip:ip:default:192.0.2.1
color:color:required
shade:color:default:#00ff00
manual:file:max:20MiB
photo:image:max:500KB
status:enum(draft|open|closed):default:draft
size:enum(2xl|m-l|S):required,index
""".strip().splitlines()


def codes_of(texts: Iterable[str], *, soft_deletes: bool = False) -> list[FieldCode]:
    return [code_of(spec, NAMES, soft_deletes=soft_deletes) for spec in parse_fields(texts)]


def source_of(codes: Iterable[FieldCode]) -> str:
    """Python that the templates print in the same order: constants, table, schemas."""
    codes = list(codes)
    imports = {line for code in codes for line in code.model_imports | code.schema_imports}
    # The classes Field of SQLModel and of pydantic are in two modules there.
    lines = sorted(line for line in imports if line != "from sqlmodel import Field")
    arguments = "".join(f"        {argument},\n" for code in codes for argument in code.table_args)
    return "\n".join(
        [
            *lines,
            "from pydantic import BaseModel, ConfigDict, Field as BodyField",
            "from sqlmodel import Field as ColumnField, SQLModel",
            "from sqlalchemy.orm import registry",
            "from kpi_shared.database.names import named_metadata",
            *(constant for code in codes for constant in code.model_constants),
            "class Table(SQLModel, registry=registry(metadata=named_metadata())):",
            "    pass",
            "class Product(Table, table=True):",
            "    __tablename__ = 'products'",
            f"    __table_args__ = (\n{arguments}    )",
            "    id: int | None = ColumnField(default=None, primary_key=True)",
            *(f"    {c.name}: {c.model_type} = {c.model_value.replace('Field(', 'ColumnField(', 1)}" for c in codes),
            "class ProductCreate(BaseModel):",
            "    model_config = ConfigDict(extra='forbid')",
            *(f"    {_declare(code)}" for code in codes if not code.is_file),
            "class ProductPublic(BaseModel):",
            "    id: int",
            *(f"    {code.name}: {code.shown_type}" for code in codes),
            "class ProductQuery(BaseModel):",
            "    limit: int = 10",
            *(f"    {code.name}: {code.filter_type} | None = None" for code in codes if code.filter),
        ]
    )


def _declare(code: FieldCode) -> str:
    none = " | None" if code.is_nullable else ""
    return f"{code.name}: {code.sent_type}{none}" + (f" = {code.default}" if code.default is not None else "")


def load(source: str) -> Any:
    ast.parse(source)
    module = ModuleType("generated_products")
    exec(compile(source, "generated_products", "exec"), module.__dict__)  # noqa: S102 the code is what is tested
    return module
