"""What the responses of several endpoints have in common."""

from typing import Literal

from fastapi import Response
from sqlmodel import SQLModel


class Accepted(SQLModel):
    """The response is the same for every outcome; details are sent by e-mail to the owner of the address."""

    status: Literal["accepted"]


ACCEPTED = Accepted(status="accepted")


async def no_store(response: Response) -> None:
    """For responses that carry secrets or follow them."""
    response.headers["Cache-Control"] = "no-store"
