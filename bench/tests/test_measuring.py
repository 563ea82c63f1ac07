"""How figures are computed: the output of programs, and the latency of an open-loop client."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from kpi_bench import steady, wrk
from kpi_bench.harness import ratios, run_in_turn, spread, verdict
from kpi_bench.options import Options
from kpi_bench.processes import BenchError
from kpi_bench.tables.profile import parse_stacks, summarise

WRK = """\
Running 4s test @ http://127.0.0.1:1/posts
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.18ms    4.73ms  61.99ms   93.10%
    Req/Sec    26.51k     2.42k   31.06k    72.50%
  Latency Distribution
     50%  850.00us
     75%    3.10ms
     90%    6.50ms
     99%    1.25s
  105484 requests in 4.00s, 83.50MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:  26358.51
Transfer/sec:     20.86MB
"""


def test_units_and_all_kinds_of_errors_of_wrk_are_parsed() -> None:
    assert wrk.parse(WRK) == wrk.Load(rate=26358.51, p50=0.85, p99=1250.0, requests=105484, errors=15)


def test_wrk_that_could_not_connect_is_no_measurement() -> None:
    with pytest.raises(BenchError):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_each_round_begins_with_another_contender() -> None:
    order: list[str] = []

    def contender(name: str) -> dict[str, float]:
        order.append(name)
        return {"rate": 1.0}

    names = ("a", "b", "c")
    found = run_in_turn(
        {name: lambda _, name=name: contender(name) for name in names}, Options(rounds=3, seconds=0), what="x"
    )
    assert "".join(order) == "abcbcacab"
    assert all(len(found[name]) == 3 for name in names)


def test_a_target_is_judged_by_the_median_of_the_ratios_of_rounds() -> None:
    values = ratios([10.0, 30.0, 10.0], [10.0, 10.0, 20.0])
    assert values == [1.0, 3.0, 0.5]
    assert spread(values, 1) == "1.0 (0.5 to 3.0)"
    assert verdict(values, 1.0) == "reached"
    assert verdict(values, 1.1) == "**not reached**"
    assert verdict(values, 0.9, most=True) == "**not reached**"
    assert verdict([], 1.0) == "not measured"


def test_time_is_attributed_to_its_module_and_to_those_that_called_it() -> None:
    text = (
        "<module> (kpi_gateway/__main__.py:10);run (asyncio/runners.py:1);data (uvicorn/protocols/http/x.py:2);"
        "forward (kpi_gateway/proxy.py:3);send (aiohttp/client.py:4) 3\n"
        "<module> (kpi_gateway/__main__.py:10);run (asyncio/runners.py:1) 1\n"
    )
    found = summarise(parse_stacks(text))
    assert found["samples"] == 4
    assert found["modules"]["uvloop"] == {"itself": 1, "inclusive": 4}
    assert found["modules"]["aiohttp"] == {"itself": 3, "inclusive": 3}
    assert found["modules"]["kpi_gateway.proxy"] == {"itself": 0, "inclusive": 3}
    assert "kpi_gateway.__main__" not in found["modules"]


class FlakyServer(asyncio.Protocol):
    """Responds in two pieces: with 503 to the second request of each of the first ten connections, else with 200."""

    connections = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.requests = 0
        self.number = FlakyServer.connections
        FlakyServer.connections += 1

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n")
        self.requests += 1
        status = b"503 No" if self.number < 10 and self.requests == 2 else b"200 OK"
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-")
        asyncio.get_running_loop().call_soon(self.transport.write, b"Length: 2\r\n\r\n{}")


@pytest.fixture
def flaky_server() -> Iterator[str]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(FlakyServer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    loop.run_until_complete(server.wait_closed())
    loop.close()


def test_each_request_of_a_constant_rate_is_sent_and_its_failure_counted(flaky_server: str) -> None:
    found = steady.measure_latency(flaky_server, rate=400, seconds=0.5)
    assert (found.requests, found.errors) == (190, 10)
