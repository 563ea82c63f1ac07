"""Each service's own database and role in the embedded PostgreSQL."""

from psycopg import Connection, Error, sql

from kpi_cli import postgres, vault
from kpi_cli.layout import Layout
from kpi_cli.ports import HOST


def prepare(layout: Layout, port: int) -> None:
    """Bring roles, databases and rights to what they should be, and write the services' database URLs.

    It runs at every start: a database that someone dropped is made again, and a password that was replaced in
    the vault is the role's from then on.
    """
    vault.write_database_urls(layout.secrets, f"{HOST}:{port}")
    try:
        _prepare(layout, port)
    except Error as error:
        message = " ".join(str(error).split())
        raise postgres.failed(layout, f"databases and roles could not be made: {message}", []) from error


def _prepare(layout: Layout, port: int) -> None:
    with postgres.connect(layout, port) as connection:
        for service in vault.SERVICES:
            password = vault.read(layout.secrets / f"{service}_database_password")
            _role(connection, f"kpi_{service}", password)
            _database(connection, f"kpi_{service}")
        # Neither role has any business in the databases that PostgreSQL itself makes.
        for name in ("postgres", "template1"):
            _close(connection, name)


def _role(connection: Connection, name: str, password: str) -> None:
    # Utility statements take no parameters, so the password is put in as a literal, quoted by psycopg.
    role = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {}").format(
            role, sql.Literal(password)
        )
    )


def _database(connection: Connection, name: str) -> None:
    owner = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owner, owner))
    _close(connection, name)


def _close(connection: Connection, name: str) -> None:
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
