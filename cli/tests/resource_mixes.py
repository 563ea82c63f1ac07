"""Resources that together have every kind of field, every access mode, and each part that may be missing."""

from kpi_cli.generate.fields.names import parse_names
from kpi_cli.generate.fields.parsing import parse_fields
from kpi_cli.generate.specs import Access, FieldSpec, ForeignKey, Kind, ResourceSpec, ServiceSpec

CONTENT = ServiceSpec(name="content", package="kpi_content", folder="services/content", has_authors=True)
# A service that knows no names of accounts.
BILLING = ServiceSpec(name="billing", package="kpi_billing", folder="services/billing")

EVERY_KIND = (
    "title:string:required,max:200",
    "notes:text",
    "stock:integer:ge:0,default:0",
    "views:bigint:min:0,default:0",
    "rating:float:ge:0,le:5",
    "weight:decimal:gt:0",
    "price:money:required,ge:0",
    "discount:percent:max:50",
    "active:boolean:default:true",
    "starts_at:datetime:index",
    "released_on:date",
    "opens_at:time",
    "contact:email",
    "website:url",
    "external_id:uuid:unique",
    "attributes:json",
    "phone:phone",
    "sku:slug:required,unique",
    "last_ip:ip",
    "color:color",
    "status:enum(draft|open|closed):default:draft",
)


def resource(
    name: str,
    *fields: str,
    service: ServiceSpec = CONTENT,
    parents: tuple[str, ...] = (),
    access: Access = Access.PROTECTED,
    soft_deletes: bool = False,
) -> ResourceSpec:
    """``parents`` are names of fields, as ``post_id``."""
    parsed = parse_fields(fields)
    return ResourceSpec(
        names=parse_names(name),
        service=service,
        fields=(*map(_belong_to, parents), *(field for field in parsed if field.kind is not Kind.OWNER)),
        owner=next((field.name for field in parsed if field.kind is Kind.OWNER), None),
        access=access,
        soft_deletes=soft_deletes,
        belongs_to=tuple(f"{parent.removesuffix('_id')}s" for parent in parents),
    )


def _belong_to(name: str) -> FieldSpec:
    foreign = ForeignKey(table=f"{name.removesuffix('_id')}s", column="id", cascades=True)
    return FieldSpec(name=name, kind=Kind.BIGINT, required=True, foreign=foreign)


MIXES = (
    resource("Product", *EVERY_KIND, "owner:owner", access=Access.PUBLIC, soft_deletes=True),
    resource("Gadget", *EVERY_KIND),
    resource("Review", "stars:integer:required,ge:1,le:5", "body:text", "owner:owner", parents=("post_id",)),
    resource("Part", "name:string:required,unique", access=Access.ADMIN, soft_deletes=True),
    resource("Invoice", "number:slug:required,unique", "owner:owner", service=BILLING, soft_deletes=True),
    resource("Plan", "label:string", service=BILLING, access=Access.PUBLIC),
    resource("Link", parents=("post_id",)),
    resource("Pin", "owner:owner", soft_deletes=True),
    resource("Mark"),
    resource("Picture", "image:image", "source:file", "title:string", "owner:owner", access=Access.PUBLIC),
    resource("Document", "scan:file:max:20MiB", soft_deletes=True),
    resource("Flag", "on_top:boolean:required", access=Access.ADMIN),
    resource("Tag", "name:slug:required", "post_id:bigint:foreign:posts.id", "owner:owner"),
    resource("Reading", "value:float:required", "source:ip:unique", access=Access.ADMIN),
    # Names of types that schemas.py imports.
    resource("Option", "field:string:required", "annotated:text", "value:json"),
    # As long as names may be.
    resource(
        "SomewhatLongNamedOrderRow",
        "quite_long_field_na:string:unique",
        "another_long_field_na:money:required",
        "owner:owner",
        parents=("conversation_id",),
        access=Access.PUBLIC,
        soft_deletes=True,
    ),
)
