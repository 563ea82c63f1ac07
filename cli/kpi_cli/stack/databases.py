"""Each service's own database and role in the embedded PostgreSQL."""

from psycopg import Connection, Error, sql

from kpi_cli.layout import Layout
from kpi_cli.parts import WITH_DATABASE
from kpi_cli.stack import postgres, vault
from kpi_cli.stack.ports import HOST


def prepare(layout: Layout, port: int) -> None:
    """Create or correct roles, databases and rights, and write the services' database URLs.

    It runs at every start: a database that was dropped is created again, and the role gets the password that the vault
    holds now.
    """
    vault.write_database_urls(layout.secrets, f"{HOST}:{port}")
    try:
        _prepare(layout, port)
    except Error as error:
        message = " ".join(str(error).split())
        raise postgres.failure(
            layout, f"databases and roles could not be created: {message}", [], layout.logs / "postgres.log"
        ) from error


def _prepare(layout: Layout, port: int) -> None:
    with postgres.connect(layout, port) as connection:
        for part in WITH_DATABASE:
            password = vault.read(layout.secrets / f"{part.name}_database_password")
            _ensure_role(connection, part.database, password)
            _ensure_database(connection, part.database)
        # No role needs the databases that PostgreSQL itself makes.
        for name in ("postgres", "template1"):
            _revoke_public(connection, name)


def _ensure_role(connection: Connection, name: str, password: str) -> None:
    # Utility statements take no parameters, so the password is a literal that psycopg has quoted.
    role = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {}").format(
            role, sql.Literal(password)
        )
    )


def _ensure_database(connection: Connection, name: str) -> None:
    owner = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owner, owner))
    _revoke_public(connection, name)


def _revoke_public(connection: Connection, name: str) -> None:
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
