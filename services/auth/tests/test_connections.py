"""Connections that the database drops."""

import httpx
from fastapi import FastAPI
from sqlalchemy import text


async def test_dropped_connections_are_replaced_without_an_error(
    shared_client: httpx.AsyncClient, running_app: FastAPI
) -> None:
    assert (await shared_client.get("/health/ready")).status_code == 200
    async with running_app.state.database.writing() as connection:
        # Wait for each, up to 5,000 ms, so that the server has really closed it.
        statement = """
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
        """
        await connection.execute(text(statement))
    for _ in range(10):
        assert (await shared_client.get("/health/ready")).status_code == 200
