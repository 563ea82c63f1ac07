"""Codes as clients send them."""

from typing import Annotated

from pydantic import StringConstraints

# Room for more than those that are made today; people copy them together with what stands around them.
CodeText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")
]
