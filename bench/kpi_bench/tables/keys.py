"""What an API key costs a request, and how long a deleted one still works."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

from kpi_bench.harness import Measure, Rounds, figures, markdown_table, report, run_in_turn, spread, verdict
from kpi_bench.options import BENCH, Options
from kpi_bench.platform_stack import Accounts, Stack, run_stack
from kpi_bench.processes import BenchError, free_port, serve
from kpi_bench.wrk import Wrk

NAME = "keys"
CONNECTIONS = 16
# So many that each is used again only when its exchange is no longer kept.
KEYS = 10_000
# An account may have 1,000 keys.
_OWNERS = 11
_REVOCATIONS = 200
# At a time, each with a request to both gateways every 25 ms.
_AT_A_TIME = 8
_PAUSE = 0.025
_KEPT_SECONDS = 5.0
_PATH = "/api/v1/posts/1"
TOKEN, KEPT, EXCHANGED = "access token", "API key, exchange kept", "API key, exchanged each time"
# The same at a pace that leaves the core idle most of the time, with this pause after each response, in milliseconds.
PACED = ", with pauses"
_THINK_MS = 100
# In milliseconds, over the same request with a token.
_MOST_KEPT, _MOST_EXCHANGED = 1.0, 20.0
_MOST_REVOCATION = 5000.0
_LUA = BENCH / "kpi_bench" / "lua" / "each_key.lua"


def run(options: Options) -> dict[str, Any]:
    with run_stack(options) as stack, _second_gateway(stack, options) as other:
        gateway = stack.url("gateway")
        accounts = Accounts(f"{gateway}/api/v1", _OWNERS)
        tokens = accounts.access_tokens(_OWNERS)
        report(f"making {KEYS:,} keys")
        keys = [key for token in tokens for key in _Client(gateway, token).create_keys(-(-KEYS // _OWNERS))]
        sent = {
            TOKEN: ("Authorization", [f"Bearer {tokens[0]}"]),
            KEPT: ("X-API-Key", keys[:1]),
            EXCHANGED: ("X-API-Key", keys),
        }
        contenders: dict[str, Measure] = {}
        for pause, suffix in ((0, ""), (_THINK_MS, PACED)):
            for number, (name, (field, values)) in enumerate(sent.items()):
                file = options.work / f"credentials-{number}"
                file.write_text("\n".join(values) + "\n")
                wrk = Wrk(CONNECTIONS, script=_LUA, arguments=_arguments(field, file, pause))
                contenders[name + suffix] = partial(_measure, wrk, gateway)
        for measure in contenders.values():
            measure(1.0)
        rounds = run_in_turn(contenders, options, what="API keys")
        # Tokens of 15 minutes, which may be nearly over.
        again = accounts.access_tokens(_AT_A_TIME)
        return {"rounds": rounds, "keys": len(keys), "revocations": _measure_revocations((gateway, other), again)}


@contextmanager
def _second_gateway(stack: Stack, options: Options) -> Iterator[str]:
    port = free_port()
    program = stack.program("gateway", port, database="")
    program = replace(program, environment={**program.environment, "RATE_LIMIT_ENABLED": "false"})
    url = f"http://127.0.0.1:{port}"
    with serve(program, options.log("second-gateway"), ready=f"{url}/health/ready"):
        yield url


def _arguments(field: str, file: Path, pause: int) -> list[str]:
    return [_PATH, field, str(file), *([str(pause)] if pause else [])]


def _measure(wrk: Wrk, url: str, seconds: float) -> dict[str, float]:
    load = wrk.run(url, seconds)
    if load.errors:
        raise BenchError(f"{url}: {load.errors} of {load.requests} requests failed")
    return {"rate": load.rate, "p50": load.p50, "p99": load.p99}


class _Client:
    """One connection to a gateway."""

    def __init__(self, url: str, token: str = "") -> None:
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
        self._headers = {"Authorization": f"Bearer {token}"}

    def create_keys(self, count: int) -> list[str]:
        return [self.create()[1] for _ in range(count)]

    def create(self) -> tuple[int, str]:
        body = json.dumps({"name": "bench", "scopes": "read"})
        status, found = self._send("POST", "/api/v1/api-keys", self._headers, body)
        if status != 201:
            raise BenchError(f"POST /api-keys: {status} {found[:200]!r}")
        made = json.loads(found)
        return made["id"], made["key"]

    def delete(self, key_id: int) -> None:
        status, found = self._send("DELETE", f"/api/v1/api-keys/{key_id}", self._headers)
        if status != 204:
            raise BenchError(f"DELETE /api-keys: {status} {found[:200]!r}")

    def use(self, key: str) -> int:
        return self._send("GET", _PATH, {"X-API-Key": key})[0]

    def _send(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, bytes]:
        if body is not None:
            headers = headers | {"Content-Type": "application/json"}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _measure_revocations(gateways: Sequence[str], tokens: Sequence[str]) -> list[float]:
    """Milliseconds from the response to DELETE until the last gateway has refused the key, of each round."""
    share = _REVOCATIONS // len(tokens)
    report(f"{_REVOCATIONS} revocations, {len(tokens)} at a time")
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = pool.map(partial(_revoke_often, gateways, share), tokens)
        return [one for each in found for one in each]


def _revoke_often(gateways: Sequence[str], count: int, token: str) -> list[float]:
    with _Client(gateways[0], token) as owner:
        clients = [_Client(url) for url in gateways]
        try:
            return [_revoke_once(owner, clients) for _ in range(count)]
        finally:
            for client in clients:
                client.close()


def _revoke_once(owner: _Client, clients: Sequence[_Client]) -> float:
    """The key is in use at both gateways, and deleted at any time within the life of an exchange."""
    key_id, key = owner.create()
    until = time.monotonic() + random.uniform(0, _KEPT_SECONDS)  # noqa: S311 no secret
    while time.monotonic() < until:
        _expect_use(clients, key)
        time.sleep(_PAUSE)
    _expect_use(clients, key)
    owner.delete(key_id)
    deleted = time.monotonic()
    left = list(clients)
    while left:
        left = [client for client in left if client.use(key) != 401]
        if left:
            time.sleep(_PAUSE)
    return (time.monotonic() - deleted) * 1000


def _expect_use(clients: Sequence[_Client], key: str) -> None:
    statuses = {client.use(key) for client in clients}
    if statuses != {200}:
        raise BenchError(f"a key in use: {statuses}")


def render(results: dict[str, Any], plots: Path) -> str:  # noqa: ARG001 this table has no plot
    rounds: Rounds = results["rounds"]
    head = ["", "requests/s", "p50, ms", "p99, ms", "added at p99, ms", "target", ""]
    rows = [_row(name, rounds) for name in rounds]
    revocations: list[float] = results["revocations"]
    sections = [
        _TEXT.format(keys=results["keys"], connections=CONNECTIONS),
        markdown_table(head, rows),
        _describe_revocations(revocations),
    ]
    return "\n\n".join(sections)


def _row(name: str, rounds: Rounds) -> list[str]:
    found = rounds[name]
    cells = [
        name,
        *(spread(figures(found, figure), digits) for figure, digits in (("rate", 0), ("p50", 2), ("p99", 2))),
    ]
    suffix = PACED if name.endswith(PACED) else ""
    most = {KEPT: _MOST_KEPT, EXCHANGED: _MOST_EXCHANGED}.get(name.removesuffix(suffix))
    if most is None:
        return [*cells, "", "", ""]
    pairs = zip(figures(found, "p99"), figures(rounds[TOKEN + suffix], "p99"), strict=True)
    added = [one - other for one, other in pairs]
    return [*cells, spread(added, 2), f"under {most:g} ms", verdict(added, most, most=True)]


def _describe_revocations(found: Sequence[float]) -> str:
    p99 = quantiles(found, n=100)[98]
    reached = verdict([max(found)], _MOST_REVOCATION, most=True)
    return (
        "From the response to `DELETE /api-keys/{id}` until the last of two gateways refused the key, which was in use "
        f"at both all the time, in {len(found)} rounds: median {median(found):,.0f} ms, p99 {p99:,.0f} ms, maximum "
        f"{max(found):,.0f} ms. The promise is {_MOST_REVOCATION:,.0f} ms: {reached}."
    )


_TEXT = """\
## API keys

The same read by id with an access token, with one API key, and with each of {keys:,} keys in turn, so that none is used
again while its exchange is kept: {connections} connections to one gateway, which shares a core with auth, content and
PostgreSQL. At full speed that core is never idle, so each of the {connections} requests waits for the work of all
others, and what an exchange adds is {connections} times its CPU time. With pauses of 50 to 150 ms after each response
it is what one client notices on a machine that has time left."""
