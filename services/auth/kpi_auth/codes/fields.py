"""The field of a code in request bodies."""

from typing import Annotated

from pydantic import StringConstraints

# The maximum leaves room for longer codes; white space that was copied along with the code is removed.
CodeText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")
]
