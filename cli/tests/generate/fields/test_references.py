"""What a field may refer to."""

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.generate.fields.parsing import parse_field
from kpi_cli.generate.fields.references import check_reference

MODELS = """
class Post(Table, table=True):
    __tablename__ = "posts"
    __table_args__ = (UniqueConstraint("slug"),)
    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=False), primary_key=True))
    slug: str = Field(sa_type=Text)
    title: str = Field(sa_type=Text)


class Product(Table, table=True):
    __tablename__ = "products"
    id: int | None = row_id()
    token: UUID = Field(sa_type=Uuid, unique=True)
"""


@pytest.mark.parametrize(
    "text",
    [
        "post_id:bigint:foreign:posts.id",
        "post:slug:foreign:posts.slug",
        "post:string:foreign:posts.slug",
        "product_id:bigint:foreign:products.id",
        "token:uuid:foreign:products.token",
    ],
)
def test_a_unique_column_of_the_same_type_can_be_named(text: str) -> None:
    check_reference(parse_field(text), MODELS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("post_id:integer:foreign:posts.id", "posts.id is a bigint, and integer is not"),
        ("post_id:uuid:foreign:posts.id", "posts.id is a bigint, and uuid is not"),
        ("post:string:foreign:posts.title", "posts.title is not unique"),
        ("post:string:foreign:posts.name", "has no column name"),
        ("product:slug:foreign:products.token", "products.token is a uuid, and slug is not"),
    ],
)
def test_another_column_is_refused(text: str, reason: str) -> None:
    with pytest.raises(FailureError) as caught:
        check_reference(parse_field(text), MODELS)
    assert reason in caught.value.sentence
    assert caught.value.code == 2
