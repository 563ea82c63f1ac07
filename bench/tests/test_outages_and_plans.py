"""How outages and plans are found: the classification of responses, and the statements in a log."""

import asyncio
import time

import pytest
from kpi_bench.outage_client import OutageClient, Outcome, Response, get
from kpi_bench.processes import BenchError, free_port
from kpi_bench.query_plans import last_statement
from kpi_bench.tables.stress import BACK, READS_A_SECOND, summarise

LOG = """\
2026-11-20 10:00:00.000 UTC [7] kpi_content@bench_growth_a LOG:  execute <unnamed>: SELECT id
\tFROM posts WHERE title = $1 AND owner_id = $10 LIMIT $2::INTEGER
2026-11-20 10:00:00.000 UTC [7] kpi_content@bench_growth_a DETAIL:  Parameters: $1 = 'it''s $2', $2 = '5', $10 = NULL
2026-11-20 10:00:00.001 UTC [8] kpi_content@bench_growth_b LOG:  statement: SELECT 1
"""


def test_the_last_statement_of_a_database_comes_with_its_parameters() -> None:
    found = last_statement(LOG, "bench_growth_a")
    assert (
        " ".join(found.split())
        == "SELECT id FROM posts WHERE title = 'it''s $2' AND owner_id = NULL LIMIT '5'::INTEGER"
    )
    assert last_statement(LOG, "bench_growth_b").strip() == "SELECT 1"


def test_a_log_without_a_statement_of_the_database_is_an_error() -> None:
    with pytest.raises(BenchError):
        last_statement(LOG, "bench_growth_c")


async def test_every_kind_of_response_has_its_outcome() -> None:
    ends = {
        b"/ok": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"/busy": b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
        b"/broken": b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
        b"/short": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
    }

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(ends[request.split()[1]])
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        found = [await _outcome(port, path.decode()) for path in ends]
    assert found == [Outcome.OK, Outcome.REFUSED, Outcome.FAILED, Outcome.LOST]


async def test_a_refused_connection_is_a_lost_response() -> None:
    assert await _outcome(free_port(), "/ok") is Outcome.LOST


async def _outcome(port: int, path: str) -> Outcome:
    client = OutageClient(f"http://127.0.0.1:{port}")
    await client.run([get(path)], rate=1000, seconds=0.001, begun=time.perf_counter())
    (response,) = client.responses
    return response.outcome


def test_an_outage_lasts_from_the_first_bad_response_to_the_last() -> None:
    bad = {5.0: Outcome.LOST, BACK + 0.5: Outcome.REFUSED}
    moments = [number / READS_A_SECOND for number in range(10 * READS_A_SECOND)]
    found = summarise([Response(moment, 0.002, bad.get(moment, Outcome.OK)) for moment in moments])
    assert (found["outage"], found["recovery"]) == (BACK - 4.5, 0.5)
    assert found["seconds"][5]["errors"] == 1 / READS_A_SECOND
