"""The column of a file: what its row knows of it. The file itself is in the store, under a key made of this."""

from typing import NamedTuple

from sqlalchemy import CheckConstraint, ColumnElement, column, literal_column

_MEMBERS = "ARRAY['media_type', 'size', 'etag']"


class StoredFile(NamedTuple):
    """``etag`` is the random part of the file's key, new for each upload."""

    media_type: str
    size: int
    etag: str


def check_file(name: str) -> CheckConstraint:
    """The constraint of such a column, which is a JSONB."""
    has_members: ColumnElement[bool] = column(name).op("?&")(literal_column(_MEMBERS))
    return CheckConstraint(has_members, name=f"{name}_file")
