"""Entity tags of API keys: they stand for what people and keys change, not for the record of use."""

from kpi_shared.http.conditional import Condition

from kpi_auth.api_keys.errors import KeyChangedMeanwhileError


def key_etag(*, version: int, key_id: int) -> str:
    return f'"{version}-k{key_id}"'


def check_match(condition: Condition | None, *, version: int, key_id: int) -> None:
    """Raise KeyChangedMeanwhileError if the condition is for another version."""
    etag = key_etag(version=version, key_id=key_id)
    if condition is not None and not condition.matches_strongly(etag):
        raise KeyChangedMeanwhileError(headers={"ETag": etag})
