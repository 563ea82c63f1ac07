"""The code of texts: lines, longer texts, and texts of a certain form."""

from dataclasses import dataclass
from typing import Any

from kpi_cli.generate.fields.code import Filter
from kpi_cli.generate.fields.kind_code import ANNOTATED, CHECKS, CONSTRAINTS, TEXT, KindCode
from kpi_cli.generate.fields.printing import Raw, print_call
from kpi_cli.generate.fields.values import length_bounds
from kpi_cli.generate.specs import FieldSpec, Kind

# What a cursor holds of a text.
_MAX_SORTED = 255
_FORMS = "from kpi_shared.fields.texts import"


def code_string(spec: FieldSpec) -> KindCode:
    least, most = length_bounds(spec)
    maximum, minimum, constants = _print_bounds(spec, least, most)
    sent = f"Annotated[str, {print_call('StringConstraints', min_length=minimum, max_length=maximum)}, OneLine()]"
    title = spec.name.replace("_", " ").capitalize()
    first, second = (_fit(f"{title} {word}", least, most) for word in ("one", "two"))
    return KindCode(
        python_type="str",
        sql_type="Text",
        checks=(print_call("check_length", spec.name, least=minimum, most=maximum),),
        constants=constants,
        model_names=tuple(line.split(" = ")[0] for line in constants),
        model_imports=frozenset({TEXT, f"{CHECKS} check_length"}),
        sent_type=sent,
        shown_type="str",
        schema_imports=frozenset({ANNOTATED, CONSTRAINTS, "from kpi_shared.text import OneLine"}),
        examples=(first, second if second != first else "y" * len(first)),
        sample=_sample(title, least, most),
        accepted=("a" * least, "b" * most),
        refused=("", "   ", "a" * (most + 1), "a\x00b", "a\nb"[:most] if most > 1 else "\n", 5, ["a"]),
        shown_as=((f" {'c' * least} ", "c" * least),),
        sort_type="str" if most <= _MAX_SORTED else None,
        filter=Filter.EXACT if spec.unique or spec.index or spec.foreign else None,
        filter_type=sent,
        is_searchable=True,
    )


def code_text(spec: FieldSpec) -> KindCode:
    least, most = length_bounds(spec)
    maximum, minimum, constants = _print_bounds(spec, least, most)
    limits = print_call("StringConstraints", min_length=minimum if least else None, max_length=maximum)
    title = spec.name.replace("_", " ").capitalize()
    return KindCode(
        python_type="str",
        sql_type="Text",
        checks=(print_call("check_length", spec.name, least=minimum if least else None, most=maximum),),
        constants=constants,
        model_names=tuple(line.split(" = ")[0] for line in constants),
        model_imports=frozenset({TEXT, f"{CHECKS} check_length"}),
        sent_type=f"Annotated[StorableText, {limits}, WITHOUT_NUL]",
        shown_type="str",
        schema_imports=frozenset({ANNOTATED, CONSTRAINTS, "from kpi_shared.text import WITHOUT_NUL, StorableText"}),
        examples=(_fit(f"{title}.\nTwo lines.", least, most), _fit(f"Another {spec.name}.", least, most)),
        sample=_sample(title, least, most),
        accepted=("a" * least, "b" * most, *(("a\nb\tc".ljust(least, "c"),) if most >= 5 else ())),  # noqa: PLR2004 its length
        refused=("a" * (most + 1), "a\x00b", 5, ["a"], *(("a" * (least - 1),) if least else ())),
        is_searchable=True,
    )


def code_slug(spec: FieldSpec) -> KindCode:
    least, most = length_bounds(spec)
    is_bounded = spec.min is not None or spec.max is not None
    maximum, minimum, constants = _print_bounds(spec, least, most)
    limits = print_call("StringConstraints", min_length=minimum, max_length=maximum, pattern=Raw("SLUG_PATTERN"))
    sent = f"Annotated[str, {limits}]" if is_bounded else "Slug"
    checks = [print_call("check_pattern", spec.name, Raw("SLUG_PATTERN"), most=None if is_bounded else Raw("MAX_SLUG"))]
    if is_bounded:
        checks.append(print_call("check_length", spec.name, least=minimum, most=maximum))
    constants = constants if is_bounded else ()
    return KindCode(
        python_type="str",
        sql_type="Text",
        checks=tuple(checks),
        constants=constants,
        model_names=tuple(line.split(" = ")[0] for line in constants),
        model_imports=frozenset(
            {TEXT, f"{CHECKS} check_pattern", f"{_FORMS} SLUG_PATTERN"}
            | ({f"{CHECKS} check_length"} if is_bounded else {f"{_FORMS} MAX_SLUG"})
        ),
        sent_type=sent,
        shown_type="str",
        schema_imports=frozenset(
            {ANNOTATED, CONSTRAINTS, f"{_FORMS} SLUG_PATTERN"} if is_bounded else {f"{_FORMS} Slug"}
        ),
        examples=(_fit("red-chair", least, most), _fit("oak-table", least, most)),
        sample=_sample("item", least, most, separator="-"),
        accepted=("a" * least, "b" * most, *(("a-1".ljust(least, "b"),) if most >= 3 else ())),  # noqa: PLR2004 its length
        refused=(
            "",
            "A" * least,
            "-" * most,
            "a b"[:most] if most > 1 else " ",
            "b" * (most + 1),
            "a\x00",
            "é" * least,
            5,
        ),
        sort_type="str",
        filter=Filter.EXACT,
        filter_type=sent,
    )


def _print_bounds(spec: FieldSpec, least: int, most: int) -> tuple[Raw, Raw | int, tuple[str, ...]]:
    """The maximum, the minimum, and the constants that they need."""
    name = spec.name.upper()
    constants = [f"MAX_{name} = {most:_}" if most >= 10_000 else f"MAX_{name} = {most}"]  # noqa: PLR2004 readability
    if least > 1:
        constants.insert(0, f"MIN_{name} = {least}")
    return Raw(f"MAX_{name}"), Raw(f"MIN_{name}") if least > 1 else least, tuple(constants)


def _fit(text: str, least: int, most: int) -> str:
    return text[:most].rstrip(" -.").ljust(least, "x")


def _sample(title: str, least: int, most: int, *, separator: str = " ") -> str:
    digits = 6
    text = f'f"{title}{separator}{{number}}"' if len(title) + 1 + digits <= most else 'f"{number}"'
    if most < digits:
        text = f'f"{{number % {10**most}}}"'
    return f'{text}.ljust({least}, "x")' if least > 1 else text


@dataclass(frozen=True, kw_only=True)
class _Form:
    """A text whose type of pydantic is in the shared library, with the constraint of its column."""

    sent_type: str
    module: str
    check: str
    check_imports: tuple[str, ...]
    examples: tuple[str, str]
    sample: str
    refused: tuple[Any, ...]
    shown_as: tuple[tuple[Any, Any], ...] = ()
    accepted: tuple[Any, ...] = ()
    sort_type: str | None = None
    is_filter: bool = False


_FORM_KINDS: dict[Kind, _Form] = {
    Kind.EMAIL: _Form(
        sent_type="Email",
        module="kpi_shared.fields.emails",
        check="check_length({name}, least=3, most=MAX_EMAIL)",
        check_imports=(f"{CHECKS} check_length", "from kpi_shared.fields.emails import MAX_EMAIL"),
        examples=("ada@example.com", "grace@example.com"),
        sample='f"person{number}@example.com"',
        accepted=("a+b@example.com", f"{'a' * 64}@example.com"),
        refused=("", "ada", "ada@", "@example.com", "ada@localhost", "a b@example.com", "a\x00@example.com", 5),
        shown_as=(("Ada@EXAMPLE.com", "ada@example.com"),),
        sort_type="str",
        is_filter=True,
    ),
    Kind.URL: _Form(
        sent_type="HttpAddress",
        module="kpi_shared.fields.texts",
        check="check_pattern({name}, URL_PATTERN, most=MAX_URL)",
        check_imports=(f"{CHECKS} check_pattern", f"{_FORMS} MAX_URL, URL_PATTERN"),
        examples=("https://example.com/one", "https://example.com/two"),
        sample='f"https://example.com/{number}"',
        accepted=("http://localhost:8000/", f"https://example.com/{'a' * 1980}"),
        refused=(
            "",
            "example.com",
            "ftp://example.com/",
            "javascript:alert(1)",
            f"https://example.com/{'a' * 1981}",
            5,
        ),
        shown_as=(("https://EXAMPLE.com", "https://example.com/"),),
    ),
    Kind.PHONE: _Form(
        sent_type="Phone",
        module="kpi_shared.fields.texts",
        check="check_pattern({name}, PHONE_PATTERN)",
        check_imports=(f"{CHECKS} check_pattern", f"{_FORMS} PHONE_PATTERN"),
        examples=("+4930123456", "+14155550100"),
        sample='f"+4930{number:07}"',
        accepted=("+1234567", "+123456789012345"),
        refused=("", "030123456", "+0123456789", "+123456", "+1234567890123456", "+49 30 123456", "+49301234\n", 5),
    ),
    Kind.COLOR: _Form(
        sent_type="Color",
        module="kpi_shared.fields.texts",
        check="check_pattern({name}, COLOR_PATTERN)",
        check_imports=(f"{CHECKS} check_pattern", f"{_FORMS} COLOR_PATTERN"),
        examples=("#ff8000", "#0080ff"),
        sample='f"#{number % 0x1000000:06x}"',
        accepted=("#000000", "#ffffff"),
        refused=("", "red", "#fff", "#ff80001", "ff8000", "#gg0000", "#ff8000\n", 5),
        shown_as=(("#FF80AA", "#ff80aa"),),
    ),
}


def code_form(spec: FieldSpec) -> KindCode:
    form = _FORM_KINDS[spec.kind]
    return KindCode(
        python_type="str",
        sql_type="Text",
        checks=(form.check.format(name=f'"{spec.name}"'),),
        model_imports=frozenset({TEXT, *form.check_imports}),
        sent_type=form.sent_type,
        shown_type="str",
        schema_imports=frozenset({f"from {form.module} import {form.sent_type}"}),
        examples=form.examples,
        sample=form.sample,
        accepted=form.accepted,
        refused=form.refused,
        shown_as=form.shown_as,
        sort_type=form.sort_type,
        filter=Filter.EXACT if form.is_filter or spec.unique or spec.index else None,
        filter_type=form.sent_type,
    )
