"""``kpi keys``: every function here reads its options, calls one module and prints."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kpi_cli import keys, layout
from kpi_cli.operations import token_keys
from kpi_cli.operations.token_keys import Place
from kpi_cli.token_keys.paserk import Purpose

app = typer.Typer(
    name="keys",
    help="The keys of access tokens, of the local stack or of an installation that the options name.",
    no_args_is_help=True,
)

File = Annotated[
    Path | None, typer.Option("--file", help="Auth's key ring, of an installation other than the local stack.")
]
Aws = Annotated[
    str | None, typer.Option("--aws", metavar="SECRET", help="The ring is PASETO_KEYS in this AWS secret of auth.")
]
Copies = Annotated[
    list[str] | None,
    typer.Option("--copy", help="The file, or the AWS secret, of parts that only verify (repeatable)."),
]


def _check_parts(names: list[str] | None) -> list[str] | None:
    unknown = [name for name in names or () if name not in token_keys.VERIFYING]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(token_keys.VERIFYING)}")
    return names


Without = Annotated[
    list[str] | None,
    typer.Option(metavar="PART", callback=_check_parts, help="A part that has no keys of tokens (repeatable)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command("new")
def print_new_key(*, as_json: Json = False) -> None:
    """Print a new secret key for a setting: 64 random hex digits. A key ring: kpi keys ring."""
    made = keys.generate()
    print(json.dumps({"key": made}) if as_json else made)


@app.command("ring")
def make_ring(
    file: Annotated[Path, typer.Argument(help="Auth's key ring, which must not exist yet.")],
    copy: Annotated[
        list[Path] | None, typer.Option("--copy", help="A file for parts that only verify (repeatable).")
    ] = None,
    purpose: Annotated[
        Purpose, typer.Option(help="local: all parts share the keys. public: auth alone can sign.")
    ] = Purpose.LOCAL,
    from_hex_file: Annotated[
        list[Path] | None,
        typer.Option("--from-hex-file", help="A file with former keys, the last PASETO_SECRET_KEY first (repeatable)."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Make the first key ring outside the local stack, from a new key or from existing keys in hex digits."""
    token_keys.make_ring(file, copy or (), purpose, from_hex_file or (), as_json=as_json)


@app.command("rotate")
def rotate(  # noqa: PLR0913 each option is a parameter
    file: File = None,
    aws: Aws = None,
    copy: Copies = None,
    without: Without = None,
    wait: Annotated[
        int | None, typer.Option(min=0, help="Seconds until the old key is retired, instead of a token's life.")
    ] = None,
    *,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="INSTANCE", help="Do not wait for this process; * and ? are wildcards (repeatable)."),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave the old key to a later run.")] = False,
    as_json: Json = False,
) -> None:
    """Replace the key while everything runs, or complete what another run has begun.

    A new key is announced; when every process has it, it mints; when the last token of the old key has expired, that is
    retired. Ctrl-C harms nothing: the next run continues.
    """
    place = Place(file, aws, copy or (), without or ())
    token_keys.rotate(layout.find(), place, wait=wait, retire=not no_wait, ignored=ignore or (), as_json=as_json)


@app.command("status")
def print_status(
    file: File = None,
    aws: Aws = None,
    without: Without = None,
    *,
    as_json: Json = False,
) -> None:
    """Print the keys, how many processes of each part hold them, and what is to be done next."""
    place = Place(file, aws, (), without or ())
    token_keys.print_status(layout.find(), place, as_json=as_json)


@app.command("kill")
def kill(  # noqa: PLR0913 each option is a parameter
    kid: Annotated[str, typer.Argument(help="The key's id, or the beginning of it.")],
    file: File = None,
    aws: Aws = None,
    copy: Copies = None,
    without: Without = None,
    *,
    at_once: Annotated[
        bool, typer.Option("--now", help="Do not wait until the parts know the key that takes its place.")
    ] = False,
    as_json: Json = False,
) -> None:
    """For emergencies: refuse a key everywhere, permanently. If it is the active key, another is activated first."""
    place = Place(file, aws, copy or (), without or ())
    token_keys.kill(layout.find(), place, kid, at_once=at_once, as_json=as_json)
