"""What a model has answered, as words of commands. Nothing here trusts it, and nothing here runs it."""

import json
import re
import shlex
from typing import Any

from kpi_cli.errors import FailureError

MAX_COMMANDS = 20
MAX_WORDS = 80
MAX_WORD = 300
# Models put JSON between these although they are asked not to.
_FENCE = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
_AGAIN = "say it in other words, or name another model in KPI_AI_MODEL"


class Command(tuple[str, ...]):
    """The words of one command, without ``kpi``: ``("make", "resource", "Post", "-s", "content")``."""

    __slots__ = ()

    def __str__(self) -> str:
        """As it is typed in a shell."""
        return shlex.join(("kpi", *self))


def read(body: bytes) -> list[Command]:
    """The commands of a response of /chat/completions; FailureError for anything else."""
    try:
        answer = json.loads(_find_content(json.loads(body)))
    except (ValueError, RecursionError, LookupError, TypeError):
        raise FailureError("ai", "the endpoint's answer is no plan in JSON", fix=_AGAIN) from None
    commands = answer.get("commands") if isinstance(answer, dict) else None
    if not isinstance(commands, list):
        raise FailureError("ai", "the endpoint's answer has no list of commands", fix=_AGAIN)
    if not commands:
        raise FailureError("ai", "the model found nothing to make in these words", fix=_AGAIN)
    if len(commands) > MAX_COMMANDS:
        raise FailureError("ai", f"the plan has {len(commands)} commands, at most {MAX_COMMANDS} are accepted")
    return [_read_command(number, item) for number, item in enumerate(commands, 1)]


def _find_content(response: Any) -> str:  # noqa: ANN401 JSON
    content = response["choices"][0]["message"]["content"]
    fenced = _FENCE.fullmatch(content)
    return fenced[1] if fenced else content


def _read_command(number: int, item: object) -> Command:
    words = _split(item)
    if words is None:
        raise refuse(number, "is neither a list of words nor a line")
    if len(words) > MAX_WORDS or any(len(word) > MAX_WORD for word in words):
        raise refuse(number, "is too long")
    # No escape sequences, no line breaks, no signs that change the direction of a text.
    if not all(word.isprintable() for word in words):
        raise refuse(number, "has characters that cannot be shown")
    return Command(words[1:] if words[:1] == ["kpi"] else words)


def _split(item: object) -> list[str] | None:
    if isinstance(item, str) and len(item) <= MAX_WORDS * MAX_WORD:
        try:
            return shlex.split(item)
        except ValueError:
            return None
    if isinstance(item, list) and all(isinstance(word, str) for word in item):
        return item
    return None


def refuse(number: int, reason: str) -> FailureError:
    """The plan is refused as a whole, so nothing of it has been made."""
    return FailureError("ai", f"command {number} of the plan {reason}; nothing was made", fix=_AGAIN)
