"""Templates of mails: ``name.txt`` and ``name.html`` in one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import BaseLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, select_autoescape

from kpi_kit.mail.composing import to_one_line
from kpi_kit.mail.errors import MailSettingsError


class Rendered(NamedTuple):
    subject: str
    text: str
    html: str


def build_templates(source: Path | str) -> Environment:
    """Templates of a folder, or of ``templates`` in the package of this name. Values are escaped in HTML.

    A text is a folder if it has a slash, as no name of a package has. MailSettingsError if there is no such package.
    """
    is_folder = isinstance(source, Path) or "/" in source
    loader: BaseLoader = FileSystemLoader(source) if is_folder else _open_package(str(source))
    return Environment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _open_package(name: str) -> PackageLoader:
    try:
        return PackageLoader(name)
    except (ImportError, ValueError):
        raise MailSettingsError(
            f"the templates {name!r} are no package with a folder templates; that of a folder is a path such as ./mails"
        ) from None


def render_template(templates: Environment, name: str, values: Mapping[str, object]) -> Rendered:
    """The two bodies, and the block ``subject`` of the text, empty without one.

    jinja2's TemplateError if a template or a value is missing.
    """
    text = templates.get_template(f"{name}.txt")
    html = templates.get_template(f"{name}.html")
    subject = text.blocks.get("subject")
    line = "" if subject is None else "".join(subject(text.new_context(dict(values))))
    return Rendered(to_one_line(line), text.render(values), html.render(values))
