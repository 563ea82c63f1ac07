"""The route of a request, as metrics, traces and logs name it."""

from collections.abc import MutableMapping
from typing import Any

# The one label of all requests that matched no route.
UNMATCHED = "unmatched"


def route_of(scope: MutableMapping[str, Any]) -> str:
    """The path template of the route that the request matched, or UNMATCHED.

    Frameworks put the route into the scope. Paths instead of templates would create one time series for each id.
    """
    return getattr(scope.get("route"), "path_format", UNMATCHED)
