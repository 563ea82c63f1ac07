"""What an OpenAPI document says about who may call what."""

from typing import Any

_METHODS = {"get", "put", "post", "delete", "patch", "options", "head", "trace"}


def operations(document: dict[str, Any]) -> set[str]:
    """Every operation, as ``GET /path``."""
    return {f"{method.upper()} {path}" for path, method, _ in _each(document)}


def protected_operations(document: dict[str, Any]) -> set[str]:
    """The operations that need, or at least read, a token."""
    return {f"{method.upper()} {path}" for path, method, operation in _each(document) if operation.get("security")}


def _each(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    paths: dict[str, dict[str, Any]] = document["paths"]
    return [(path, method, item[method]) for path, item in paths.items() for method in item if method in _METHODS]
