"""Conversations: from a message's writing to its reader, what open streams cost, writing, and far pages."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlencode

from psycopg import sql

from kpi_bench.harness import Rounds, figures, markdown_table, ratios, report, run_in_turn, spread, verdict
from kpi_bench.options import BENCH, Options
from kpi_bench.platform_stack import Accounts, Stack, authorized_json, run_stack
from kpi_bench.processes import LOAD_CORE, BenchError, Server, free_port, pin, serve
from kpi_bench.steady import measure_latency
from kpi_bench.wrk import Wrk

NAME = "conversations"
RATE = 50.0
STREAMS = 1_000
# Readers of one conversation, among so many of which all streams are spread.
CONVERSATIONS = 100
# Ordinary reads beside the streams: a rate that leaves the core idle most of the time.
READS_PER_SECOND = 200.0
WRITERS = 16
MANY = 64
# So few that requests hardly wait for one another.
READERS = 2
MESSAGES = 100_000
PAGE_LIMIT, PAGE = 100, 1_000
ALONE, BESIDE = "no streams", f"{STREAMS:,} streams"
ONE, SEVERAL = "one conversation", f"{MANY} conversations"
FIRST, LAST = "page 1", f"page {PAGE:,}"
_MOST_BESIDE, _MOST_PAGE, _MOST_CONNECTIONS = 1.5, 1.2, 20
# What only compares full speeds needs less time.
_SHORT = 2.0
_HISTORY = """
    INSERT INTO messages (conversation_id, number, role, content, author_id)
    SELECT {conversation}, number, 'user', 'message ' || number || ' of a long conversation', {author}
    FROM generate_series(1, {count}) AS number
"""
_COUNTS = "UPDATE conversations SET last_number = {count}, message_count = {count} WHERE id = {conversation}"
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"


@dataclass(frozen=True)
class _Platform:
    """Two gateways with a content each, and an account with its conversations."""

    stack: Stack
    gateway: Server
    content: Server
    # Where messages are written, and where they are read: another gateway in front of another content.
    write: str
    read: str
    accounts: Accounts
    token: str
    ids: Sequence[int]


def run(options: Options) -> dict[str, Any]:
    with run_stack(options) as stack, _second_replica(stack, options) as (gateway, content, read):
        write = stack.url("gateway")
        accounts = Accounts(f"{write}/api/v1", 1)
        token = accounts.access_tokens(1)[0]
        ids = [_create_conversation(write, token) for _ in range(CONVERSATIONS)]
        platform = _Platform(stack, gateway, content, write, read, accounts, token, ids)
        report("messages to the other replica")
        delivery = [_measure_delivery(platform, options) for _ in range(options.rounds)]
        short = replace(options, seconds=min(options.seconds, _SHORT))
        return {
            "delivery": delivery,
            **_measure_streams(platform, options),
            "writes": _measure_writes(platform, short),
            "pages": _measure_pages(platform, short),
        }


@contextmanager
def _second_replica(stack: Stack, options: Options) -> Iterator[tuple[Server, Server, str]]:
    ports = {part: free_port() for part in ("content", "gateway")}
    urls = {part: f"http://127.0.0.1:{port}" for part, port in ports.items()}
    content = stack.program("content", ports["content"], database=Stack.CONTENT)
    # One account opens all streams, again in each round, when those of the round before may not be closed yet.
    content = replace(content, environment={**content.environment, "STREAMS_PER_ACCOUNT": str(3 * STREAMS)})
    gateway = stack.program("gateway", ports["gateway"], database="")
    settings = {
        "CONTENT_URL": urls["content"],
        "RATE_LIMIT_ENABLED": "false",
        "STREAM_CONNECTIONS_PER_CLIENT": str(2 * STREAMS),
    }
    gateway = replace(gateway, environment={**gateway.environment, **settings})
    with (
        serve(content, options.log("second-content"), ready=f"{urls['content']}/health/ready") as content_server,
        serve(gateway, options.log("second-gateway"), ready=f"{urls['gateway']}/health/ready") as gateway_server,
    ):
        yield gateway_server, content_server, urls["gateway"]


def _create_conversation(url: str, token: str) -> int:
    return int(authorized_json(f"{url}/api/v1/conversations", token, {"title": "A conversation"})["id"])


# From a message's writing to its reader.


def _measure_delivery(platform: _Platform, options: Options) -> dict[str, float]:
    arguments = {
        "write": platform.write,
        "read": platform.read,
        "token": platform.token,
        "conversation": platform.ids[0],
        "rate": RATE,
        "seconds": options.seconds,
    }
    with closing(_Followers("deliver", arguments)) as followers:
        found = followers.receive()
    if found["lost"] or found["errors"]:
        raise BenchError(f"{found['lost']} messages did not arrive, {found['errors']} were not accepted")
    shares = quantiles(found["milliseconds"], n=100)
    report(f"delivery: p50 {shares[49]:.2f} ms, p99 {shares[98]:.2f} ms")
    return {"p50": shares[49], "p99": shares[98]}


class _Followers:
    """The program of readers and writers, on the core of the load, until it is closed."""

    def __init__(self, command: str, arguments: dict[str, object]) -> None:
        program = pin([sys.executable, "-m", "kpi_bench.followers", command], LOAD_CORE)
        self._process = process = subprocess.Popen(
            program, cwd=BENCH, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if process.stdin is None or process.stdout is None:
            raise BenchError("the program of readers has no pipes")
        self._input, self._output = process.stdin, process.stdout
        self.send(arguments)

    def send(self, value: object) -> None:
        self._input.write(json.dumps(value) + "\n")
        self._input.flush()

    def receive(self) -> dict[str, Any]:
        line = self._output.readline()
        if not line:
            raise BenchError("the program of readers ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


# What open streams cost.


@contextmanager
def _open_streams(platform: _Platform) -> Iterator[None]:
    arguments = {
        "read": platform.read,
        "tokens": [platform.token] * CONVERSATIONS,
        "conversations": platform.ids,
        "count": STREAMS,
    }
    with closing(_Followers("hold", arguments)) as followers:
        if followers.receive() != {"open": STREAMS}:
            raise BenchError("not all streams were opened")
        yield
        followers.send("close")
        if followers.receive() != {"cut": 0}:
            raise BenchError("streams were cut")


def _measure_streams(platform: _Platform, options: Options) -> dict[str, Any]:
    """Memory is that of the first time: later streams use what the first ones have left."""
    servers = {"gateway": platform.gateway, "content": platform.content}
    _measure_reads(platform, options.seconds)
    before = {name: server.memory_bytes() for name, server in servers.items()}
    with _open_streams(platform):
        memory = {name: (server.memory_bytes() - before[name]) / STREAMS for name, server in servers.items()}
        connections = _count_connections(platform)
    report(f"memory per stream: {memory}, {connections} database connections")
    contenders = {ALONE: partial(_measure_reads, platform), BESIDE: partial(_measure_reads_beside, platform)}
    rounds = run_in_turn(contenders, options, what="reads")
    return {"memory": memory, "connections": connections, "reads": rounds}


def _count_connections(platform: _Platform) -> int:
    """Those of both contents."""
    with platform.stack.database.connect() as connection:
        found = connection.execute(_CONNECTIONS, [Stack.CONTENT]).fetchone()
    return int(found[0]) if found else 0


def _measure_reads(platform: _Platform, seconds: float) -> dict[str, float]:
    found = asdict(measure_latency(f"{platform.read}/api/v1/posts/1", READS_PER_SECOND, seconds))
    if found["errors"]:
        raise BenchError(f"{found['errors']} of {found['requests']} reads failed")
    return {name: found[name] for name in ("p50", "p99", "late")}


def _measure_reads_beside(platform: _Platform, seconds: float) -> dict[str, float]:
    with _open_streams(platform):
        # Opening them is not what is measured.
        time.sleep(0.5)
        return _measure_reads(platform, seconds)


# Writing, and far pages.


def _measure_writes(platform: _Platform, options: Options) -> Rounds:
    ids = [_create_conversation(platform.write, platform.token) for _ in range(MANY)]
    contenders = {ONE: partial(_write, platform, ids[:1]), SEVERAL: partial(_write, platform, ids)}
    return run_in_turn(contenders, options, what="writes")


def _write(platform: _Platform, ids: Sequence[int], seconds: float) -> dict[str, float]:
    script = BENCH / "kpi_bench" / "lua" / "write_messages.lua"
    wrk = Wrk(WRITERS, script=script, arguments=[platform.token, *map(str, ids)])
    load = wrk.run(platform.write, seconds)
    if load.errors:
        raise BenchError(f"{load.errors} of {load.requests} messages were not accepted")
    return {"rate": load.rate, "p50": load.p50, "p99": load.p99}


def _measure_pages(platform: _Platform, options: Options) -> Rounds:
    conversation = platform.ids[1]
    report(f"writing {MESSAGES:,} messages to one conversation")
    _fill(platform, conversation)
    messages = f"{platform.stack.url('content')}/conversations/{conversation}/messages"
    paths = {FIRST: f"{messages}?{urlencode({'after': 0, 'limit': PAGE_LIMIT})}", LAST: ""}
    cursor = ""
    for _ in range(PAGE - 1):
        more = {"cursor": cursor} if cursor else {"after": 0}
        paths[LAST] = f"{messages}?{urlencode({'limit': PAGE_LIMIT, **more})}"
        cursor = str(authorized_json(paths[LAST], platform.token)["next"])
    paths[LAST] = f"{messages}?{urlencode({'limit': PAGE_LIMIT, 'cursor': cursor})}"
    last = authorized_json(paths[LAST], platform.token)["items"]
    if len(last) != PAGE_LIMIT or last[-1]["number"] != MESSAGES:
        raise BenchError(f"page {PAGE:,} does not end with message {MESSAGES:,}")
    wrk = Wrk(READERS, headers=[f"Authorization: Bearer {platform.token}"])
    contenders = {name: partial(_read_page, wrk, path) for name, path in paths.items()}
    for measure in contenders.values():
        measure(1.0)
    return run_in_turn(contenders, options, what="pages")


def _fill(platform: _Platform, conversation: int) -> None:
    values = {
        "conversation": sql.Literal(conversation),
        "author": sql.Literal(platform.accounts.ids[0]),
        "count": sql.Literal(MESSAGES),
    }
    with platform.stack.database.connect(Stack.CONTENT) as connection:
        connection.execute(sql.SQL(_HISTORY).format(**values))
        connection.execute(sql.SQL(_COUNTS).format(**values))
        connection.execute("VACUUM (ANALYZE) messages")


def _read_page(wrk: Wrk, url: str, seconds: float) -> dict[str, float]:
    load = wrk.run(url, seconds)
    if load.errors:
        raise BenchError(f"{url}: {load.errors} of {load.requests} requests failed")
    return {"rate": load.rate, "p50": load.p50, "p99": load.p99}


def render(results: dict[str, Any], plots: Path) -> str:  # noqa: ARG001 this table has no plot
    delivery = results["delivery"]
    reads, writes, pages = results["reads"], results["writes"], results["pages"]
    beside = ratios(figures(reads[BESIDE], "p99"), figures(reads[ALONE], "p99"))
    slower = ratios(figures(pages[FIRST], "rate"), figures(pages[LAST], "rate"))
    connections = results["connections"]
    rows = [
        ["message until the reader on the other replica has it, ms", *_times(delivery), "", ""],
        [f"read by id, {ALONE}, ms", *_times(reads[ALONE]), "", ""],
        [f"read by id beside {BESIDE}, ms", *_times(reads[BESIDE]), *_judge("p99", beside, _MOST_BESIDE)],
    ]
    rates = [
        [f"messages written to {ONE}", spread(figures(writes[ONE], "rate")), "", ""],
        [f"messages written to {SEVERAL}", spread(figures(writes[SEVERAL], "rate")), "", ""],
        [f"{FIRST} of {MESSAGES:,} messages", spread(figures(pages[FIRST], "rate")), "", ""],
        [f"{LAST}", spread(figures(pages[LAST], "rate")), *_judge("slowdown", slower, _MOST_PAGE)],
    ]
    costs = [
        *([f"memory per stream, {name}", f"{size / 1024:,.1f} KiB", ""] for name, size in results["memory"].items()),
        [
            "database connections of both contents",
            str(connections),
            verdict([connections], _MOST_CONNECTIONS, most=True),
        ],
    ]
    return "\n\n".join(
        [
            _TEXT,
            markdown_table(["", "p50", "p99", "ratio", "target"], rows),
            markdown_table(["", "requests/s", "ratio", "target"], rates),
            markdown_table([f"{STREAMS:,} open streams", "", "target"], costs),
        ]
    )


def _times(rounds: Sequence[dict[str, float]]) -> list[str]:
    return [spread(figures(rounds, name), 2) for name in ("p50", "p99")]


def _judge(name: str, found: Sequence[float], most: float) -> list[str]:
    return [f"{name} {spread(found, 2)}", f"at most {most:g}: {verdict(found, most, most=True)}"]


_TEXT = f"""\
## Conversations

Two gateways with a content each on one database, all on one core. Messages are written through the first gateway and
read through the second; the time is from sending the POST until the event has been read, at {RATE:g} messages/s. The
streams are open at the second gateway, {STREAMS // CONVERSATIONS} to each of {CONVERSATIONS} conversations. Reads by id
beside them come at {READS_PER_SECOND:g}/s through the same gateway and content. Memory is what both processes grew by,
divided by the number of streams. Messages are written over {WRITERS} connections. Pages have {PAGE_LIMIT} messages, are
reached by following the cursors, and are read from content directly."""
