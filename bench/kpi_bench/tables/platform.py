"""The platform with the real posts, through the gateway and directly, compared with the tutorials' monolith."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection

from kpi_bench import plots as plot
from kpi_bench.harness import Measure, Rounds, figures, markdown_table, ratios, run_in_turn, spread, verdict
from kpi_bench.options import BENCH, Options
from kpi_bench.platform_monolith import DATABASE, monolith
from kpi_bench.platform_stack import POSTS, Accounts, Database, Stack, run_stack
from kpi_bench.processes import BenchError
from kpi_bench.wrk import Wrk

NAME = "platform"
LUA = BENCH / "kpi_bench" / "lua"
GATEWAY, DIRECT, MONOLITH = "through the gateway", "on the service", "the monolith"
# All connections are busy at once; the monolith's pool has no more.
CONNECTIONS = 15
# Longer measurements give the same result here, and all tables together should take only some minutes.
_LONGEST = 2.0
# Operations that take seconds are measured this many times as long.
_SLOWLY = 4
_ACCOUNTS = 40
_VOTERS = 12
_REFRESHERS = 8
# Common words, rare words and names.
WORDS = ("google", "startup", "linux", "security", "kernel", "postgres", "telescope", "javascript")
_READS, _VOTES = 2.5, 1.5


@dataclass(frozen=True)
class Place:
    """Where one contender runs: the URLs of its services, the prefix of each path, and its accounts."""

    auth: str
    content: str
    prefix: str
    accounts: Accounts


# The URL to call at a place, and the wrk to call it with.
Call = Callable[[Place], tuple[str, Wrk]]


def run(options: Options) -> dict[str, Any]:
    with run_stack(options) as stack, monolith(stack.database, options) as (monolith_url, _):
        places = _places(stack, monolith_url)
        found = {name: _measure_operation(name, call, places, stack, options) for name, call in OPERATIONS.items()}
    return {"rounds": found}


def our_places(stack: Stack) -> dict[str, Place]:
    """The platform through its gateway, and directly."""
    gateway, auth, content = (stack.url(part) for part in ("gateway", "auth", "content"))
    accounts = Accounts(auth, _ACCOUNTS)
    return {
        GATEWAY: Place(gateway, gateway, "/api/v1", accounts),
        DIRECT: Place(auth, content, "", accounts),
    }


def _places(stack: Stack, monolith_url: str) -> dict[str, Place]:
    return {
        **our_places(stack),
        MONOLITH: Place(monolith_url, monolith_url, "", Accounts(monolith_url, _ACCOUNTS)),
    }


def _measure_operation(name: str, call: Call, places: Mapping[str, Place], stack: Stack, options: Options) -> Rounds:
    contenders: dict[str, Measure] = {
        contender: partial(_measure_once, call, place, stack.database, contender=contender)
        for contender, place in places.items()
    }
    for contender, measure in contenders.items():
        if measure(1.0)["rate"] < CONNECTIONS:
            # Then all connections get their responses at about the same time, which may be after the end.
            contenders[contender] = partial(_measure_longer, measure)
    return run_in_turn(contenders, replace(options, seconds=min(options.seconds, _LONGEST)), what=name)


def _measure_once(call: Call, place: Place, database: Database, seconds: float, *, contender: str) -> dict[str, float]:
    url, wrk = call(place)
    load = wrk.run(url, seconds)
    database.wait_until_idle()
    # The monolith may be slow without being broken: wrk reports responses after ten seconds as errors.
    if load.errors and contender != MONOLITH:
        raise BenchError(f"{contender}: {load.errors} of {load.requests} requests failed")
    if contender == MONOLITH:
        delete_writes(database, place.accounts, name=DATABASE, counted=False)
    else:
        delete_writes(database, place.accounts)
    return {"rate": load.rate, "p50": load.p50, "p99": load.p99, "errors": load.errors}


def _measure_longer(measure: Measure, seconds: float) -> dict[str, float]:
    return measure(_SLOWLY * seconds)


def delete_writes(database: Database, accounts: Accounts, *, name: str = Stack.CONTENT, counted: bool = True) -> None:
    """Delete what was written, so that each measurement starts with the same data."""
    with database.connect(name) as connection:
        written = connection.execute("DELETE FROM posts WHERE id > %s", [POSTS]).rowcount
        voted = _delete_votes(connection, accounts.ids, counted=counted)
        if written or voted:
            connection.execute("VACUUM posts, votes")


def _delete_votes(connection: Connection, users: Sequence[int], *, counted: bool) -> int:
    gone = connection.execute("DELETE FROM votes WHERE user_id = ANY(%s) RETURNING post_id", [list(users)]).fetchall()
    if gone and counted:
        connection.execute(
            "UPDATE posts SET votes = (SELECT count(*) FROM votes WHERE post_id = posts.id) WHERE id = ANY(%s)",
            [list({row[0] for row in gone})],
        )
    return len(gone)


def _by_path(path: str) -> Call:
    return lambda place: (f"{place.content}{place.prefix}{path}", Wrk(connections=CONNECTIONS))


def _by_script(script: str, *arguments: str) -> Call:
    def call(place: Place) -> tuple[str, Wrk]:
        return place.content, Wrk(CONNECTIONS, script=LUA / script, arguments=[place.prefix, *arguments])

    return call


def _votes(place: Place) -> tuple[str, Wrk]:
    tokens = place.accounts.access_tokens(_VOTERS)
    return place.content, Wrk(CONNECTIONS, script=LUA / "vote.lua", arguments=[place.prefix, str(POSTS), *tokens])


def _writes(place: Place) -> tuple[str, Wrk]:
    tokens = place.accounts.access_tokens(1)
    return place.content, Wrk(CONNECTIONS, script=LUA / "write.lua", arguments=[place.prefix, *tokens])


def sign_ins(place: Place) -> tuple[str, Wrk]:
    arguments = [place.prefix, Accounts.PASSWORD, Accounts.PREFIX, str(_ACCOUNTS)]
    return place.auth, Wrk(CONNECTIONS, script=LUA / "login.lua", arguments=arguments)


def refreshes(place: Place) -> tuple[str, Wrk]:
    arguments = [place.prefix, *place.accounts.refresh_tokens(_REFRESHERS)]
    return place.auth, Wrk(_REFRESHERS, _REFRESHERS, script=LUA / "refresh.lua", arguments=arguments)


OPERATIONS: dict[str, Call] = {
    "GET /posts/{id}": _by_script("each_post.lua"),
    "GET /posts, new": _by_path("/posts?limit=10&sort=new"),
    "GET /posts, top": _by_path("/posts?limit=10&sort=top"),
    "GET /posts, hot": _by_path("/posts?limit=10&sort=hot"),
    "GET /posts, search": _by_script("search.lua", *WORDS),
    "POST /votes": _votes,
    "POST /posts": _writes,
    "POST /auth/login": sign_ins,
    "POST /auth/refresh": refreshes,
}


def render(results: dict[str, Any], plots: Path) -> str:
    rounds: dict[str, Rounds] = results["rounds"]
    _plot(rounds, plots)
    rows = [_row(name, found) for name, found in rounds.items()]
    head = ["", *(f"{name}, requests/s" for name in (GATEWAY, DIRECT, MONOLITH)), "gateway : monolith", "target", ""]
    return (
        f"{_TEXT.format(connections=CONNECTIONS)}\n\n{markdown_table(head, rows)}\n\n{_PICTURE}\n\n{_latency(rounds)}"
    )


def _ratios(found: Rounds) -> list[float]:
    return ratios(figures(found[GATEWAY], "rate"), figures(found[MONOLITH], "rate"))


def _row(name: str, found: Rounds) -> list[str]:
    rates = [spread(figures(found[contender], "rate"), 1) for contender in (GATEWAY, DIRECT, MONOLITH)]
    target = _READS if name.startswith("GET") else _VOTES if name.endswith("/votes") else None
    goal = ["", ""] if target is None else [f"{target:g}", verdict(_ratios(found), target)]
    return [f"`{name}`", *rates, spread(_ratios(found), 2), *goal]


def _latency(rounds: dict[str, Rounds]) -> str:
    rows = [
        [f"`{name}`", *(spread(figures(found[contender], "p50"), 1) for contender in (GATEWAY, DIRECT, MONOLITH))]
        for name, found in rounds.items()
    ]
    head = ["p50 in ms at saturation", GATEWAY, DIRECT, MONOLITH]
    return markdown_table(head, rows)


def _plot(rounds: dict[str, Rounds], folder: Path) -> None:
    values = {name: sorted(_ratios(found)) for name, found in rounds.items() if _ratios(found)}
    bars = {name: (found[len(found) // 2], found[0], found[-1]) for name, found in values.items()}
    plot.bars(folder / "platform.svg", bars, unit="requests/s through the gateway : requests/s of the monolith")


_PICTURE = "![Requests per second as a multiple of the monolith's](performance/platform.svg)"

_TEXT = """\
## The platform compared with a monolith

The 20,100 real posts with 1.01 million votes, {connections} connections, and everything but the load (gateway, service,
monolith and the one PostgreSQL server that all use) on one core. The monolith in `bench/peers/monolith` is what good
tutorials build for the same API: FastAPI with `def` endpoints, a sync SQLModel session and its default pool, votes
counted by a subquery, JWT. It has no gateway in front, and it does less: it writes no audit trail, its refresh tokens
cannot be revoked, it has no failure limits, and its search is `ILIKE`. The post is first in the key of its votes, so
that the index can be used for the count."""
