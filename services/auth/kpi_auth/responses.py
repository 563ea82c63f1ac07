"""What the answers of several endpoints have in common."""

from typing import Literal

from fastapi import Response
from sqlmodel import SQLModel


class Accepted(SQLModel):
    """The same whatever comes of the request: the rest is said by mail, to whoever reads the address."""

    status: Literal["accepted"]


ACCEPTED = Accepted(status="accepted")


async def no_store(response: Response) -> None:
    """For answers that carry or follow secrets."""
    response.headers["Cache-Control"] = "no-store"
