"""Errors about API keys."""

from collections.abc import Iterable

from kpi_shared.errors import ForbiddenError, ProblemError


class KeyNotFoundError(ProblemError):
    status = 404
    type = "api-key-not-found"
    title = "There is no such API key"


class NotYourKeyError(ForbiddenError):
    type = "not-your-key"
    title = "Only the owner of an API key may do this"


class KeyLimitError(ProblemError):
    status = 409
    type = "too-many-api-keys"
    title = "You have as many API keys as this installation allows: delete one first"


class KeyInUseError(ProblemError):
    status = 409
    type = "api-key-in-use"
    title = "An API key cannot delete or deactivate itself; to end it for good: POST /api-keys/self/revoke"


class KeyReplacedError(ProblemError):
    status = 409
    type = "api-key-replaced"
    title = "This API key has already been rotated: use its successor"


class ReplacedKeyError(ForbiddenError):
    """The text of the old key may have leaked: it must not end its successor, or make keys that outlive it."""

    type = "replaced-api-key"
    title = "An API key that has been rotated can no longer make, change or end keys: use its successor"


class KeyHeldError(ForbiddenError):
    type = "deactivated-by-admin"
    title = "An admin has deactivated this API key, and only an admin can activate it again"


class KeyNotActiveError(ProblemError):
    status = 409
    type = "api-key-not-active"
    title = "Only an active API key can be rotated"


class BeyondRightsError(ForbiddenError):
    """A key would be able to do more than its owner, or more than the key that asks for it."""

    type = "beyond-your-rights"
    title = "An API key cannot have more rights than its owner, or than the key that makes or changes it"

    def __init__(self, names: Iterable[str]) -> None:
        errors = [{"pointer": f"#/body/{name}", "detail": _REASONS[name], "type": "beyond_rights"} for name in names]
        super().__init__("; ".join(f"{item['pointer']}: {item['detail']}" for item in errors), errors=errors)


_REASONS = {
    "scopes": "goes beyond your own rights",
    "expires_at": "is later than the end of the key that asks for it",
    "allowed_networks": "goes beyond the networks of the key that asks for it",
    "rate_limit": "may exceed the limit of the key that asks for it",
}
