"""Words that cannot be names: those of Python and SQL, and those that the classes of generated code have already."""

import builtins
import keyword

# PostgreSQL truncates what is longer, so that two names may become one.
MAX_IDENTIFIER = 63

# The words of pg_get_keywords() that are reserved, for functions and types too: in SQL they stand in quotes.
_SQL_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true union
    unique user using variadic verbose when where window with
"""
SQL_RESERVED = frozenset(_SQL_RESERVED_WORDS.split())

# Columns of each resource, and the query parameters of its list.
TAKEN_BY_RESOURCES = {
    **dict.fromkeys(("id", "created_at", "updated_at", "deleted_at"), "each resource has a column of this name"),
    **dict.fromkeys(
        ("limit", "skip", "cursor", "total", "search", "sort", "mine", "deleted"),
        "it is a query parameter of each list",
    ),
    **dict.fromkeys(("owner", "owner_id"), "it is the name of the owner, as in owner:owner"),
    **dict.fromkeys(
        ("date", "time", "datetime", "int", "str", "float", "bool", "bytes", "dict", "list", "timestamp", "identifier"),
        "the generated classes use what has this name",
    ),
    "new": "it is the value of sort for the newest first",
    "changes": "the generated classes have an attribute of this name",
}

# What is meant by names that fields are often given.
_OTHER_NAMES = {
    "total": "total_amount",
    "limit": "max_count",
    "type": "category",
    "class": "category",
    "date": "released_on",
    "time": "opens_at",
    "datetime": "starts_at",
    "timestamp": "measured_at",
    "id": "external_id",
    "json": "attributes",
    "metadata": "attributes",
}

# Attributes of SQLModel and pydantic classes. A test compares them with the installed versions.
_CLASS_ATTRIBUTES_WORDS = """
    construct copy dict fields from_orm json metadata parse_file parse_obj parse_raw query registry schema schema_json
    sqlmodel_update update_forward_refs validate
"""
CLASS_ATTRIBUTES = frozenset(_CLASS_ATTRIBUTES_WORDS.split())

# Classes that generated modules import or define beside the resource's own, in lower case.
_CLASS_NAMES_WORDS = """
    annotated any base big_integer boolean check_constraint column computed cursors database date date_time datetime
    decimal depends double enum field file filter foreign_key identity index inet integer jsonb mapping named_tuple
    numeric once page path position query request response router row self sequence sort str_enum subject table text
    time total unique_constraint uuid writer
"""
_CLASS_NAMES = frozenset(_CLASS_NAMES_WORDS.split())
# Variables, modules and packages of generated code.
_VARIABLES_WORDS = """
    app caller changes col condition connection context database delete endpoints errors func insert kpi_shared limit
    migrations models repository request response router rows schemas select service session settings skip
    statement tests update
"""
_VARIABLES = frozenset(_VARIABLES_WORDS.split())


def rename(name: str) -> str:
    """A name for a field that cannot have this one."""
    return _OTHER_NAMES.get(name, f"{name.removeprefix('model_')}_value")


def why_no_field(name: str) -> str | None:
    """Why a field cannot have the name, or None."""
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "it is a keyword of Python"
    if name.startswith("model_") or name in CLASS_ATTRIBUTES:
        return "pydantic's classes have an attribute of this name"
    return TAKEN_BY_RESOURCES.get(name)


def why_no_resource(singular: str, plural: str) -> str | None:
    """Why a resource cannot have these names, both with underscores, or None."""
    for name in (singular, plural):
        if keyword.iskeyword(name) or keyword.issoftkeyword(name):
            return f"{name} is a keyword of Python"
        if name in vars(builtins) or name in _VARIABLES:
            return f"generated code uses the name {name}"
    if singular in _CLASS_NAMES:
        return f"generated code uses a class named {''.join(map(str.capitalize, singular.split('_')))}"
    return f"{plural} is a reserved word of SQL" if plural in SQL_RESERVED else None
