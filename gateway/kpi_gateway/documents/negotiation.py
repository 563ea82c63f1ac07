"""Whether a client prefers a page for people to JSON."""

import re

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_HTML = ("text/html", "text/*", "*/*")
_JSON = ("application/json", "application/*", "*/*")


def prefers_html(accept: str) -> bool:
    """Judge an Accept field (RFC 9110, 12.5.1). Browsers prefer HTML; programs get JSON, also if both are equal."""
    weights = dict(map(_parse_range, accept.lower().split(",")))
    return _weight(weights, _HTML) > _weight(weights, _JSON)


def _parse_range(member: str) -> tuple[str, float]:
    media_range, *parameters = (part.strip() for part in member.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            # A range with an invalid weight is not considered.
            return media_range, float(value) if _QUALITY.fullmatch(value) else 0.0
    return media_range, 1.0


def _weight(weights: dict[str, float], ranges: tuple[str, ...]) -> float:
    """The weight of the most specific of ``ranges`` that the client named."""
    return next((weights[media_range] for media_range in ranges if media_range in weights), 0.0)
