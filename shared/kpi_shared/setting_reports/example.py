"""The example of a part's settings file, ``config/.env.example``."""

import textwrap
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from kpi_shared.setting_reports.texts import fill_in, group_fields, variable, write_default
from kpi_shared.settings import PartSettings

_WIDTH = 120
_HEAD = """The settings of the part {part}. Copy this file to .env, or to .env.development, .env.staging or
.env.production, which APP_ENV selects. Environment variables override it, and X_FILE names a file that contains X.
A line without # has to be filled in. The others show the default, or an example where there is none to show.
To see what is set, and where: .venv/bin/kpi config {part}. This file is written by: .venv/bin/kpi config --init"""


def write_example(settings: type[PartSettings]) -> str:
    """The text of the file, which is made from the descriptions of the settings alone."""
    return "\n".join(_lines(settings)) + "\n"


def _lines(settings: type[PartSettings]) -> Iterator[str]:
    yield from (f"# {line}" for line in fill_in(settings, _HEAD).splitlines())
    for title, fields in group_fields(settings):
        yield ""
        yield f"# === {title} ==="
        for name, field in fields:
            yield from _describe(fill_in(settings, field.description or ""))
            yield _assign(settings, name, field)


def _describe(text: str) -> list[str]:
    # A long address or command stays whole, so that it can be copied.
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _assign(settings: type[PartSettings], name: str, field: FieldInfo) -> str:
    """The setting as a comment, unless it has to be filled in: an empty example says so where the type does not."""
    examples = [fill_in(settings, str(example)) for example in field.examples or ()]
    must_be_set = field.is_required() or examples == [""]
    value = examples[0] if examples else write_default(field)
    return f"{'' if must_be_set else '# '}{variable(name)}={value}"
