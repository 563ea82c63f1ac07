"""What the developer asked for, parsed and checked: names, fields with their rules, and the service they go into."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """The types of fields."""

    STRING = "string"
    TEXT = "text"
    INTEGER = "integer"
    BIGINT = "bigint"
    FLOAT = "float"
    DECIMAL = "decimal"
    MONEY = "money"
    PERCENT = "percent"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    DATE = "date"
    TIME = "time"
    EMAIL = "email"
    URL = "url"
    UUID = "uuid"
    JSON = "json"
    PHONE = "phone"
    SLUG = "slug"
    IP = "ip"
    COLOR = "color"
    FILE = "file"
    IMAGE = "image"
    ENUM = "enum"
    # The account that has created the row: it may change it, and so may an admin.
    OWNER = "owner"


class Access(StrEnum):
    """Who may call the operations of a resource."""

    # Reading needs no token, writing does.
    PUBLIC = "public"
    PROTECTED = "protected"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Names:
    """One noun in every form that code needs. ``words`` and ``plural_words`` are in lower case: ("order", "item")."""

    words: tuple[str, ...]
    plural_words: tuple[str, ...]

    @property
    def singular(self) -> str:
        """``order_item``: variables and parameters."""
        return "_".join(self.words)

    @property
    def plural(self) -> str:
        """``order_items``: the folder, the package and the table."""
        return "_".join(self.plural_words)

    @property
    def class_name(self) -> str:
        """``OrderItem``."""
        return "".join(word.capitalize() for word in self.words)

    @property
    def title(self) -> str:
        """``order item``: texts."""
        return " ".join(self.words)

    @property
    def plural_title(self) -> str:
        return " ".join(self.plural_words)

    @property
    def slug(self) -> str:
        """``order-item``: the types of problems."""
        return "-".join(self.words)

    @property
    def path(self) -> str:
        """``order-items``: the address, without its slash."""
        return "-".join(self.plural_words)


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """``foreign:posts.id``, or ``--belongs-to posts``, whose rows go with the row that they belong to."""

    table: str
    column: str
    cascades: bool = False


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One ``-f name:kind:rules``, whose rules do not contradict each other."""

    name: str
    kind: Kind
    # The values of an enum.
    choices: tuple[str, ...] = ()
    # A create must name it. A field that is not required is nullable or has a default.
    required: bool = False
    nullable: bool = False
    unique: bool = False
    index: bool = False
    # Of a length for texts, in bytes for files, of the value for numbers; ``max`` and ``min`` of numbers are le and ge.
    min: int | None = None
    max: int | None = None
    ge: Decimal | None = None
    gt: Decimal | None = None
    le: Decimal | None = None
    lt: Decimal | None = None
    foreign: ForeignKey | None = None
    # As written on the command line.
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """A service of the checkout: ``content``, ``kpi_content``, ``services/content``."""

    name: str
    package: str
    folder: str
    # It knows the names of accounts (content/authors), so an owner is shown with a name.
    has_authors: bool = False


@dataclass(frozen=True, kw_only=True)
class ResourceSpec:
    """``kpi make resource``."""

    names: Names
    service: ServiceSpec
    # Without the owner, in the order of the command line; those of --belongs-to come first.
    fields: tuple[FieldSpec, ...]
    # The name of the field of kind owner: ``owner``, whose column is ``owner_id``.
    owner: str | None = None
    access: Access = Access.PROTECTED
    soft_deletes: bool = False
    belongs_to: tuple[str, ...] = field(default=())

    @property
    def is_changeable(self) -> bool:
        """Whether PUT and PATCH have a field to change: not what the row belongs to, nor what is uploaded."""
        return any(not _is_fixed(each) and each.kind not in {Kind.FILE, Kind.IMAGE} for each in self.fields)


def _is_fixed(each: FieldSpec) -> bool:
    return each.foreign is not None and each.foreign.cascades
