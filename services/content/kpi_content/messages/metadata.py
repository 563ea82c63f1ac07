"""The metadata of a message: any JSON object, of limited size and depth."""

from typing import Annotated, Any

from kpi_shared.fields.documents import check_document
from pydantic import BeforeValidator, Field


def _check_metadata(metadata: object) -> object:
    # The schema, which comes next, refuses what is no object.
    return check_document(metadata, title="Metadata") if isinstance(metadata, dict) else metadata


Metadata = Annotated[
    dict[str, Any],
    BeforeValidator(_check_metadata),
    Field(description="Any JSON object of at most 16 KiB and 8 levels"),
]
