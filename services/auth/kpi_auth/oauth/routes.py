"""Routes whose errors OAuth2 libraries understand."""

from collections.abc import Mapping, Sequence

from kpi_shared.http.media_types import MediaTypeRoute

from kpi_auth.oauth.errors import error_code


class TokenRoute(MediaTypeRoute):
    """Every problem document of the route has the member ``error`` too.

    OAuth2 libraries look for nothing else: without it, some take the problem document for a token.
    """

    @staticmethod
    def problem_members(status: int, errors: Sequence[Mapping[str, str]] | None) -> Mapping[str, str]:
        return {"error": error_code(status, errors)}
