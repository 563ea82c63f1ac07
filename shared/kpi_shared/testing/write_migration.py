"""``python -m kpi_shared.testing.write_migration FOLDER NAME MESSAGE``: write the migration that the models need.

It is Alembic's autogenerate on a temporary PostgreSQL, in the form of the migrations that are written by hand, and is
run up, down and up again: what it makes, its downgrade removes. Where the models need none, nothing is written.
"""

import json
import os
import re
import signal
import sys
from ast import literal_eval
from io import StringIO
from pathlib import Path
from token import STRING
from tokenize import generate_tokens

import psycopg
from alembic import command
from alembic.config import Config
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy.exc import DBAPIError

from kpi_shared.testing.postgres import URL_VARIABLE, TestServer, create_database

# Everything that a migration makes, in words.
_CONTENTS = """
    WITH here AS (SELECT current_schema()::regnamespace AS schema)
    SELECT format('%s %s', relkind, oid::regclass) FROM pg_class, here WHERE relnamespace = schema
    UNION SELECT format('%s.%s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid, here
    WHERE relnamespace = schema AND attnum > 0 AND NOT attisdropped
    UNION SELECT format('%s of %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint, here WHERE connamespace = schema
    UNION SELECT format('function %s', oid::regprocedure) FROM pg_proc, here WHERE pronamespace = schema
    UNION SELECT format('type %s', oid::regtype) FROM pg_type, here WHERE typnamespace = schema
    UNION SELECT format('trigger %s of %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE NOT tgisinternal
"""


def main(folder: Path, name: str, message: str) -> int:
    # So that the server is stopped when this is.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    server = None
    if URL_VARIABLE not in os.environ:
        server = TestServer()
        os.environ[URL_VARIABLE] = server.url
    try:
        _write(folder, name, message)
    except (CommandError, DBAPIError) as error:
        print(f"{folder}: {error.orig if isinstance(error, DBAPIError) else error}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.stop()
    return 0


def _write(folder: Path, name: str, message: str) -> None:
    url = os.environ["DATABASE_URL"] = create_database(f"migration_{folder.name}_{os.getpid()}")
    config = Config(folder / "alembic.ini", stdout=sys.stderr)
    command.upgrade(config, "head")
    before = _list_contents(url)
    scripts = command.revision(
        config, message, autogenerate=True, rev_id=name, process_revision_directives=_leave_indexes_to_tables
    )
    for script in scripts if isinstance(scripts, list) else [scripts]:
        if script is not None:
            file = Path(script.path)
            file.write_text(improve(file.read_text(encoding="utf-8")), encoding="utf-8")
            _check(config, url, before)
            print(file)


def _check(config: Config, url: str, before: set[str]) -> None:
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "-1")
    if left := _list_contents(url) ^ before:
        raise CommandError(f"after the downgrade the database is not as it was: {', '.join(sorted(left))}")
    command.upgrade(config, "head")


def _list_contents(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute(_CONTENTS)}


def _leave_indexes_to_tables(
    _context: MigrationContext, _revision: object, directives: list[ops.MigrationScript]
) -> None:
    """Let the downgrade drop each new table and not also its indexes; write no file where there is nothing to do."""
    [script] = directives
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    if script.upgrade_ops.is_empty():
        directives.clear()
        return
    down = script.downgrade_ops
    dropped = {each.table_name for each in down.ops if isinstance(each, ops.DropTableOp)}
    down.ops = [
        each
        for each in down.ops
        if not (isinstance(each, ops.ModifyTableOps | ops.DropIndexOp) and each.table_name in dropped)
    ]


# Alembic's way of writing, and the house's.
_WRITTEN = (
    (r"(?m)^ *# ###.*\n", ""),
    # Only the names of CHECKs are extended by a convention that this protects them from.
    (r"op\.f\((['\"])(?!ck_)(.*?)\1\)", r'"\2"'),
    (r", unique=False\b", ""),
    (r", nullable=True(?=\))", ""),
    (r"sa\.text\((['\"])now\(\)\1\)", "sa.func.now()"),
    (r"sa\.text\((['\"])(true|false)\1\)", r"sa.\2()"),
    (r"\(astext_type=sa\.Text\(\)\)", "()"),
)
# So that it fits into a line of 120 characters behind its indentation.
_MAX_TEXT = 80
_OF_POSTGRESQL = re.compile(r"\bpostgresql\.([A-Z]\w*)\(")


def improve(text: str) -> str:
    """A migration as autogenerate writes it, in the form of the house; the formatter does the rest."""
    for pattern, replacement in _WRITTEN:
        text = re.sub(pattern, replacement, text)
    text = _split_long_texts(text)
    if names := sorted(set(_OF_POSTGRESQL.findall(text))):
        text = _OF_POSTGRESQL.sub(r"\1(", text)
        text = text.replace(_OP, f"{_OP}from sqlalchemy.dialects.postgresql import {', '.join(names)}\n", 1)
    return text


def _split_long_texts(text: str) -> str:
    """Write each long text, such as the expression of a generated column, over several lines."""
    lines = text.splitlines(keepends=True)
    for token in reversed([*generate_tokens(StringIO(text).readline)]):
        (line, start), (last, end) = token.start, token.end
        if token.type == STRING and line == last and end - start > _MAX_TEXT:
            parts = re.findall(
                rf".{{1,{_MAX_TEXT}}}(?:(?<=\s)|$)|.{{1,{_MAX_TEXT}}}", literal_eval(token.string), re.DOTALL
            )
            split = "\n".join(json.dumps(part, ensure_ascii=False) for part in parts)
            before, behind = lines[line - 1][:start], lines[line - 1][end:]
            # The first argument of a call needs no parentheses of its own.
            is_argument = before.endswith("(")
            lines[line - 1] = f"{before}\n{split}{behind}" if is_argument else f"{before}(\n{split}\n){behind}"
    return "".join(lines)


_OP = "from alembic import op\n"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
