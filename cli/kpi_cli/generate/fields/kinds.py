"""What each kind of field is: its rules, its type in PostgreSQL and its form in JSON. docs/fields.md prints this."""

from dataclasses import dataclass
from decimal import Decimal

from kpi_cli.generate.specs import Kind

# What is uploaded: 10 MiB and 5 MiB, unless ``max`` says otherwise.
DEFAULT_FILE_BYTES = 10 * 1024 * 1024
DEFAULT_IMAGE_BYTES = 5 * 1024 * 1024
MAX_FILE_BYTES = 1024 * 1024 * 1024
MAX_STRING = 10_000
MAX_TEXT = 100_000
MAX_SLUG = 100
MAX_URL = 2_000
MAX_EMAIL = 254
DEFAULT_STRING = 255
DEFAULT_TEXT = 10_000
# An entry of a B-tree takes 2,704 bytes at most, a character four.
MAX_INDEXED_STRING = 650

_PRESENCE = ("required", "nullable")
_LOOKUP = ("unique", "index")
_LENGTHS = ("min", "max")
_BOUNDS = ("min", "max", "ge", "le", "gt", "lt")


@dataclass(frozen=True, kw_only=True)
class KindInfo:
    """``example`` is a field of the command line. The bounds are those of the kind itself."""

    rules: tuple[str, ...]
    postgresql: str
    json: str
    example: str
    lowest: Decimal | None = None
    highest: Decimal | None = None
    # The decimal places of numbers, and the values of max for texts and files.
    places: int | None = None
    most: int | None = None
    default_max: int | None = None

    @property
    def is_number(self) -> bool:
        return "ge" in self.rules


def _number(postgresql: str, json: str, example: str, *, lowest: str, highest: str, places: int | None) -> KindInfo:
    rules = (*_PRESENCE, *_LOOKUP, *_BOUNDS, "default", *(("foreign",) if places == 0 else ()))
    return KindInfo(
        rules=rules,
        postgresql=postgresql,
        json=json,
        example=example,
        lowest=Decimal(lowest),
        highest=Decimal(highest),
        places=places,
    )


def _text(postgresql: str, json: str, example: str, *, more: tuple[str, ...] = ()) -> KindInfo:
    rules = (*_PRESENCE, *_LOOKUP, *more, "default")
    return KindInfo(rules=rules, postgresql=postgresql, json=json, example=example)


# What other systems and languages call them.
ELSEWHERE = {
    **dict.fromkeys(("char", "varchar", "str"), "string"),
    **dict.fromkeys(("longtext", "textarea"), "text"),
    **dict.fromkeys(("int", "int4", "smallint"), "integer"),
    **dict.fromkeys(("int8", "long"), "bigint"),
    **dict.fromkeys(("double", "real"), "float"),
    **dict.fromkeys(("number", "numeric"), "decimal"),
    **dict.fromkeys(("currency", "price"), "money"),
    "bool": "boolean",
    **dict.fromkeys(("timestamp", "timestamptz"), "datetime"),
    **dict.fromkeys(("jsonb", "dict", "list", "array", "object"), "json"),
    "guid": "uuid",
    "link": "url",
    "inet": "ip",
    **dict.fromkeys(("binary", "blob", "bytes", "upload"), "file"),
    **dict.fromkeys(("photo", "picture"), "image"),
    **dict.fromkeys(("choice", "select"), "enum"),
    "user": "owner",
    **dict.fromkeys(("belongs_to", "foreign", "reference", "references"), "--belongs-to TABLE"),
}

_DOUBLE = "1.7976931348623157e308"

KINDS: dict[Kind, KindInfo] = {
    Kind.STRING: KindInfo(
        rules=(*_PRESENCE, *_LOOKUP, *_LENGTHS, "default", "foreign"),
        postgresql="text",
        json="one line of 1 to 255 characters",
        example="title:string:required,max:200",
        most=MAX_STRING,
        default_max=DEFAULT_STRING,
    ),
    Kind.TEXT: KindInfo(
        rules=(*_PRESENCE, *_LENGTHS, "default"),
        postgresql="text",
        json="lines of at most 10,000 characters",
        example="description:text:max:5000",
        most=MAX_TEXT,
        default_max=DEFAULT_TEXT,
    ),
    Kind.INTEGER: _number(
        "integer",
        "integer of 32 bits",
        "stock:integer:ge:0,default:0",
        lowest="-2147483648",
        highest="2147483647",
        places=0,
    ),
    Kind.BIGINT: _number(
        "bigint",
        "integer of 64 bits",
        "views:bigint:min:0,default:0",
        lowest="-9223372036854775808",
        highest="9223372036854775807",
        places=0,
    ),
    Kind.FLOAT: _number(
        "double precision",
        "finite number",
        "rating:float:ge:0,le:5",
        lowest=f"-{_DOUBLE}",
        highest=_DOUBLE,
        places=None,
    ),
    Kind.DECIMAL: _number(
        "numeric(18,6)",
        'text of a number, `"12.5"`',
        "weight:decimal:gt:0",
        lowest="-999999999999.999999",
        highest="999999999999.999999",
        places=6,
    ),
    Kind.MONEY: _number(
        "numeric(12,2)",
        'text of a number with two places, `"12.50"`',
        "price:money:required,ge:0",
        lowest="-9999999999.99",
        highest="9999999999.99",
        places=2,
    ),
    Kind.PERCENT: _number(
        "numeric(5,2)",
        'text of a number from 0 to 100 with two places, `"7.50"`',
        "discount:percent:max:50",
        lowest="0",
        highest="100",
        places=2,
    ),
    Kind.BOOLEAN: KindInfo(
        rules=(*_PRESENCE, "index", "default"),
        postgresql="boolean",
        json="true or false",
        example="active:boolean:default:true",
    ),
    Kind.DATETIME: _text(
        "timestamp with time zone", "RFC 3339 with an offset, UTC in responses", "starts_at:datetime:index"
    ),
    Kind.DATE: _text("date", '`"2026-03-31"`', "released_on:date"),
    Kind.TIME: _text("time", '`"08:30:00"`, without a time zone', "opens_at:time"),
    Kind.EMAIL: _text("text", "e-mail address, in lower case in responses", "contact:email"),
    Kind.URL: _text("text", "address of http or https, at most 2,000 characters", "website:url"),
    Kind.UUID: _text(
        "uuid", "UUID with hyphens, in lower case in responses", "external_id:uuid:unique", more=("foreign",)
    ),
    Kind.JSON: KindInfo(
        rules=(*_PRESENCE, "default"),
        postgresql="jsonb",
        json="any value of at most 16 KiB and 8 levels",
        example="attributes:json",
    ),
    Kind.PHONE: _text("text", 'number in the form of E.164, `"+4930123456"`', "phone:phone"),
    Kind.SLUG: KindInfo(
        rules=(*_PRESENCE, *_LOOKUP, *_LENGTHS, "default", "foreign"),
        postgresql="text",
        json="words of lower-case letters and digits with hyphens between, at most 100 characters",
        example="sku:slug:required,unique",
        most=MAX_SLUG,
        default_max=MAX_SLUG,
    ),
    Kind.IP: _text("inet", "address of IPv4 or IPv6, without a network", "last_ip:ip"),
    Kind.COLOR: _text("text", '`"#rrggbb"`, in lower case in responses', "color:color"),
    Kind.FILE: KindInfo(
        rules=("nullable", "max"),
        postgresql="jsonb",
        json="`media_type`, `size` and `etag`, or null; at most 10 MiB",
        example="manual:file:max:20MiB",
        most=MAX_FILE_BYTES,
        default_max=DEFAULT_FILE_BYTES,
    ),
    Kind.IMAGE: KindInfo(
        rules=("nullable", "max"),
        postgresql="jsonb",
        json="as a file; PNG, JPEG, GIF or WebP of at most 5 MiB",
        example="photo:image",
        most=MAX_FILE_BYTES,
        default_max=DEFAULT_IMAGE_BYTES,
    ),
    Kind.ENUM: KindInfo(
        rules=(*_PRESENCE, "index", "default"),
        postgresql="text",
        json="one of the choices",
        example='"status:enum(draft|open|closed):default:draft"',
    ),
    Kind.OWNER: KindInfo(
        rules=(),
        postgresql="bigint",
        json="set by the service: the account that creates the row; only it and admins change it, others may read it",
        example="owner:owner",
    ),
}
