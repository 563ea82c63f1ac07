"""Connections that the database drops."""

from time import monotonic
from unittest.mock import AsyncMock

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import OperationalError


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


@pytest.mark.parametrize(
    ("error", "seconds_ago", "status"),
    [
        (TimeoutError(), 0.0, 200),
        (TimeoutError(), 10.0, 503),
        (OperationalError("", None, psycopg.OperationalError("connection refused")), 0.0, 503),
    ],
)
async def test_only_the_lack_of_an_answer_is_excused_by_an_earlier_one(
    error: Exception,
    seconds_ago: float,
    status: int,
    shared_client: httpx.AsyncClient,
    running_app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy machine may take the whole time of the question, but an error says that the database is not there."""
    database = running_app.state.database
    monkeypatch.setattr(database, "ask", AsyncMock(side_effect=error))
    monkeypatch.setattr(database.state, "answered_at", monotonic() - seconds_ago)
    assert (await shared_client.get("/health/ready")).status_code == status
