"""Entity tags of API keys: they stand for what people and keys change, not for the record of use."""

from kpi_shared.http.conditional import Condition


def key_etag(*, version: int, key_id: int) -> str:
    return f'"{version}-k{key_id}"'


def check_match(condition: Condition | None, *, version: int, key_id: int) -> None:
    """Raise ChangedMeanwhileError if the condition is for another version."""
    if condition is not None:
        condition.require(key_etag(version=version, key_id=key_id))
