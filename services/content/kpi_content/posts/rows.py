"""The rows of posts as they are encoded. PostPublic is the only list of a post's public fields: this reads it."""

from collections.abc import Sequence
from typing import Any

from kpi_shared.records.responses import RecordRow, make_account

from kpi_content.posts.filters import Position, SortKey
from kpi_content.posts.schemas import PostPublic

# A post by the names of PostPublic's fields, in their order.
PostRow = RecordRow
# A post of a list, and the value that the list is sorted by.
ListedRow = tuple[PostRow, SortKey]

# The fields that are columns of the post's own. The statements select these, then the owner's id and username.
COLUMNS = tuple(name for name in PostPublic.model_fields if name != "owner")
_OWNER_ID = len(COLUMNS)
_USERNAME = _OWNER_ID + 1
_SORT_KEY = _USERNAME + 1


def make_post(values: Sequence[Any]) -> PostRow:
    post: PostRow = dict(zip(COLUMNS, values, strict=False))
    post["owner"] = make_account(values[_OWNER_ID], values[_USERNAME])
    return post


def make_listed_post(values: Sequence[Any]) -> ListedRow:
    return make_post(values), values[_SORT_KEY]


def position_of(row: ListedRow) -> Position:
    post, sort_key = row
    return Position(sort_key, post["id"])
