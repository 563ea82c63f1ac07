"""The roles and databases of the services in the embedded PostgreSQL."""

import psycopg
import pytest
from cli_harness import Checkout


def test_roles_reach_their_own_database_only(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    url = (checkout.home / "secrets" / "auth_database_url").read_text().strip()
    try:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TEMPORARY TABLE mine (id int)")
            superuser = connection.execute("SHOW is_superuser").fetchone()
            hashed = connection.execute("SHOW password_encryption").fetchone()
        assert superuser == ("off",)
        assert hashed == ("scram-sha-256",)
        for database in ("kpi_content", "postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(url.rpartition("/")[0] + f"/{database}")
        password = url.split(":")[2].partition("@")[0]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(password, "wrong"))
    finally:
        stack.stop()
