"""Which of the media types that a route offers a client gets (RFC 9110, 12.5.1)."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import Request

from kpi_shared.errors import ProblemError

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


class NotAcceptableError(ProblemError):
    """RFC 9110, section 15.5.7: the detail names what is offered."""

    status = HTTPStatus.NOT_ACCEPTABLE
    type = "not-acceptable"
    title = "The response has none of the media types that the request accepts"


def choose_media_type(request: Request, offered: Sequence[str]) -> str:
    """The offered media type with the highest weight, of several the first; NotAcceptableError if there is none."""
    weights = _parse_accept(",".join(request.headers.getlist("accept")))
    best = max(offered, key=lambda media_type: _weigh(media_type, weights))
    if not _weigh(best, weights):
        raise NotAcceptableError(f"Accept must allow {' or '.join(offered)}")
    return best


def _parse_accept(accept: str) -> Mapping[str, float]:
    """The weight of each media range. Other parameters than the weight are ignored, and so is an invalid weight."""
    found = dict(_parse_member(member) for member in accept.lower().split(",") if member.strip())
    return found or {"*/*": 1.0}


def _parse_member(member: str) -> tuple[str, float]:
    media_range, *parameters = (part.strip() for part in member.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return media_range, float(value) if _QUALITY.fullmatch(value.strip()) else 1.0
    return media_range, 1.0


def _weigh(media_type: str, weights: Mapping[str, float]) -> float:
    """The weight of the most specific range that contains the media type."""
    kind = media_type.partition("/")[0]
    return next((weights[each] for each in (media_type, f"{kind}/*", "*/*") if each in weights), 0.0)
