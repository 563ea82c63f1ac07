"""What a response says of a file."""

from typing import Annotated

from pydantic import BaseModel, Field


class FilePublic(BaseModel):
    """A file that can be downloaded at the address of its field."""

    media_type: Annotated[str, Field(description="Found in the first bytes of the file")]
    size: Annotated[int, Field(description="In bytes")]
    etag: Annotated[str, Field(description="Changes with each upload")]
