"""Three resources that together have every kind of field, every rule, each access, and each option."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Mix:
    """``arguments`` of ``kpi make resource``; ``body`` is one that a client sends."""

    name: str
    service: str
    plural: str
    path: str
    fields: tuple[str, ...]
    options: tuple[str, ...]
    body: dict[str, Any]
    # What of it is shown in another form.
    shown: dict[str, Any]
    change: dict[str, Any]
    # The status where an account changes a row that it has not made.
    strangers_change: int
    uploads: dict[str, bytes] = field(default_factory=dict)
    # Who may write.
    writer: str = "seed_user_2"
    is_public: bool = False
    needs_post: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        fields = (part for field in self.fields for part in ("-f", field))
        return (self.name, "-s", self.service, *fields, *self.options)


# The one that CI makes.
PRODUCT = Mix(
    name="Product",
    service="content",
    plural="products",
    path="/products",
    fields=(
        "title:string:required,max:200",
        "description:text:nullable,max:5000",
        "price:money:required,ge:0",
        "sku:slug:required,unique",
        "stock:integer:min:0,max:1000000,default:0",
        "status:enum(draft|open|closed):default:draft,index",
        "released_on:date:nullable",
        "owner:owner",
    ),
    options=("--belongs-to", "posts", "--soft-deletes", "--public"),
    body={"title": "Red chair", "price": "12.5", "sku": "red-chair"},
    shown={"price": "12.50", "status": "draft", "stock": 0},
    change={"stock": 5},
    strangers_change=403,
    is_public=True,
    needs_post=True,
)
ORDER_ITEM = Mix(
    name="OrderItem",
    service="content",
    plural="order_items",
    path="/order-items",
    fields=(
        "label:string:required,min:2,max:80,unique",
        "views:bigint:gt:-1,lt:1000000000000,default:0",
        "rating:float:nullable,gte:0,lte:5",
        "weight:decimal:nullable,gt:0,index",
        "discount:percent:max:50,default:0",
        "is_gift:boolean:default:false",
        "due_at:datetime:nullable,index",
        "opens_at:time:nullable",
        "contact:email:required",
        "website:url:nullable",
        "reference:uuid:nullable,unique",
        "attributes:json:nullable",
        "phone:phone:nullable",
        "post_id:bigint:nullable,foreign:posts.id",
    ),
    options=("-p",),
    body={"label": "Chair", "contact": "Anna@Example.com"},
    shown={"contact": "anna@example.com", "is_gift": False, "discount": "0.00"},
    change={"views": 5},
    strangers_change=200,
)
READING = Mix(
    name="Reading",
    service="billing",
    plural="readings",
    path="/readings",
    fields=(
        "address:ip:required,unique",
        "color:color:nullable",
        "report:file:nullable,max:1MiB",
        "level:integer:required,le:100,ge:-100",
        "note:text:default:none",
        "owner:owner",
    ),
    options=("--admin",),
    body={"address": "2001:DB8::1", "level": 7},
    shown={"address": "2001:db8::1", "note": "none", "report": None},
    change={"level": 8},
    strangers_change=403,
    uploads={"report": b"%PDF-1.7\n%%EOF\n"},
    writer="seed_admin_1",
)
MIXES = (PRODUCT, ORDER_ITEM, READING)
