"""The templates of ``kpi make``: Jinja2 files in ``templates/``, whose result the formatter brings into its form."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("kpi_cli.generate"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Python source, not HTML
    )


def render(template: str, **values: Any) -> str:  # noqa: ANN401 Jinja2's own
    """The text of ``templates/<template>``; jinja2.UndefinedError for a name that is not given."""
    return _environment().get_template(template).render(**values)
