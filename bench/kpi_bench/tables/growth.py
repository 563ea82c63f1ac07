"""The same reads at three sizes of the content database, in turn."""

import json
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kpi_bench import plots as plot
from kpi_bench.growth_data import BUILDING, BYTES_PER_POST, SIZES, build, database_name
from kpi_bench.harness import Rounds, figures, markdown_table, ratios, report, run_in_turn, spread, verdict
from kpi_bench.options import BENCH, Options
from kpi_bench.platform_stack import HOME, Database, Stack, open_loaded_database
from kpi_bench.processes import BenchError, Program, free_port, serve
from kpi_bench.query_plans import explain
from kpi_bench.wrk import Wrk

NAME = "growth"
# So few that requests hardly wait for one another.
CONNECTIONS = 2
PAGE = 10_000
# So small that page 10,000 exists at the smallest size too.
PAGE_LIMIT = 2
_MOST = 1.2
_LONGEST = 1.0
_WALK = 100
_SORTS = ("new", "top", "hot")
_WORDS = """
    SELECT word, ndoc FROM ts_stat('SELECT to_tsvector(''simple'', title) FROM posts')
    WHERE word ~ '^[a-z]{6,}$' AND numnode(plainto_tsquery('english', word)) > 0
    ORDER BY ndoc DESC, word
"""


def run(options: Options) -> dict[str, Any]:
    # A single round is a trial run, for which small sizes are enough.
    sizes = SIZES if options.rounds > 1 else {name: min(size, 40_000 + size // 100) for name, size in SIZES.items()}
    _check_disk(max(sizes.values()))
    with open_loaded_database(options) as database:
        try:
            database.start(core=None, settings=BUILDING)
            build(database, sizes)
            database.stop()
            database.start()
            return {"sizes": sizes, **_measure(database, options, sizes)}
        finally:
            if database.server is not None:
                database.drop(*(database_name(name) for name in sizes))


def _check_disk(posts: int) -> None:
    free, needed = shutil.disk_usage(HOME.parent).free, posts * BYTES_PER_POST
    if free < needed:
        raise BenchError(f"{needed / 1e9:.0f} GB of free disk are required, but only {free / 1e9:.0f} are available")


def _measure(database: Database, options: Options, sizes: Mapping[str, int]) -> dict[str, Any]:
    short = replace(options, seconds=min(options.seconds, _LONGEST))
    with _run_services(database, options, sizes) as urls:
        words = _words(database, next(iter(sizes)))
        searches = {kind: f"/posts?limit=10&search={word}" for kind, word in words.items()}
        asked = {name: {**_pages(url), **searches, "id": "", "posts": str(sizes[name])} for name, url in urls.items()}
        rounds = {}
        for read in _reads():
            contenders = {name: partial(_measure_read, urls[name], asked[name], read) for name in sizes}
            for contender in contenders.values():
                contender(1.0)
            rounds[read] = run_in_turn(contenders, short, what=read)
        return {
            "words": words,
            "matches": {name: {kind: _total(urls[name], word) for kind, word in words.items()} for name in sizes},
            "rounds": rounds,
            "explained": _explain_reads(database, options, urls, asked),
        }


@contextmanager
def _run_services(database: Database, options: Options, sizes: Mapping[str, int]) -> Iterator[dict[str, str]]:
    """Run a content service for each size; yield their URLs by size."""
    stack = Stack(database, options)
    urls = {}
    with ExitStack() as running:
        for name in sizes:
            port = free_port()
            urls[name] = f"http://127.0.0.1:{port}"
            program = _without_feed(stack.program("content", port, database=database_name(name)))
            running.enter_context(serve(program, options.log(database_name(name)), ready=f"{urls[name]}/health/ready"))
        yield urls


def _without_feed(program: Program) -> Program:
    """The service alone: no auth runs whose events it could follow, and without them it would never be ready."""
    own = {
        name: value for name, value in program.environment.items() if not name.startswith(("FEED_", "AUTH_INTERNAL_"))
    }
    return replace(program, environment=own)


def _reads() -> dict[str, str]:
    """The reads that are measured, each with the key of its path."""
    pages = {f"{sort}, page {page:,}": f"{sort} {page}" for sort in _SORTS for page in (1, PAGE)}
    return {"by id": "id", **pages, "search, rare word": "rare", "search, common word": "common"}


def _measure_read(url: str, asked: Mapping[str, str], read: str, seconds: float) -> dict[str, float]:
    key = _reads()[read]
    script = BENCH / "kpi_bench" / "lua" / "spread_posts.lua" if key == "id" else None
    wrk = Wrk(CONNECTIONS, script=script, arguments=[asked["posts"]] if script else [])
    load = wrk.run(f"{url}{asked[key]}", seconds)
    if load.errors:
        raise BenchError(f"{read}: {load.errors} of {load.requests} requests failed")
    return {"rate": load.rate, "p50": load.p50, "p99": load.p99}


def _pages(url: str) -> dict[str, str]:
    """The paths of page 1 and page 10,000 in each order, found as any client would: by following the pages."""
    paths = {}
    for sort in _SORTS:
        paths[f"{sort} 1"] = f"/posts?sort={sort}&limit={PAGE_LIMIT}"
        cursor, left = "", (PAGE - 1) * PAGE_LIMIT
        while left:
            step = min(left, _WALK)
            more = {"cursor": cursor} if cursor else {}
            cursor = str(_get(f"{url}/posts?{urlencode({'sort': sort, 'limit': step, **more})}")["next"])
            left -= step
        paths[f"{sort} {PAGE}"] = f"/posts?sort={sort}&limit={PAGE_LIMIT}&cursor={cursor}"
    return paths


def _words(database: Database, smallest: str) -> dict[str, str]:
    """A word that three titles have, and the most common one that is not a stop word."""
    with database.connect(database_name(smallest)) as connection:
        found = [(str(word), int(posts)) for word, posts in connection.execute(_WORDS)]
    return {"rare": next(word for word, posts in found if posts == 3), "common": found[0][0]}


def _total(url: str, word: str) -> int:
    return int(_get(f"{url}/posts?limit=1&total=true&search={word}")["total"])


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 the benchmark's own address
        found: dict[str, Any] = json.load(response)
        return found


def _explain_reads(
    database: Database, options: Options, urls: Mapping[str, str], asked: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """For each read at each size: the plan, the pages that it accesses, and its milliseconds."""
    report("explaining the plans")
    found: dict[str, dict[str, Any]] = {}
    for read, key in _reads().items():
        for size, url in urls.items():
            path = asked[size][key] or "/posts/777"
            plan = explain(database, database_name(size), f"{url}{path}", options.log("postgres"))
            found.setdefault(read, {})[size] = plan._asdict()
    return found


def render(results: dict[str, Any], plots: Path) -> str:
    rounds: dict[str, Rounds] = results["rounds"]
    sizes = list(results["sizes"])
    _plot(rounds, results["sizes"], plots)
    rows = [_row(read, found, sizes) for read, found in rounds.items()]
    head = ["", *(f"{size}, requests/s" for size in sizes), "slowdown factor", f"at most {_MOST:g}"]
    parts = [
        _text(results),
        markdown_table(head, rows),
        "![Requests per second by number of posts](performance/growth.svg)",
        _BUFFERS,
        _pages_table(results["explained"], sizes),
        _plans(results["explained"], sizes[-1]),
    ]
    return "\n\n".join(parts)


def _slowdowns(found: Rounds, sizes: list[str]) -> list[float]:
    return ratios(figures(found[sizes[0]], "rate"), figures(found[sizes[-1]], "rate"))


def _row(read: str, found: Rounds, sizes: list[str]) -> list[str]:
    slower = _slowdowns(found, sizes)
    result = "" if read.startswith("search") else verdict(slower, _MOST, most=True)
    return [read, *(spread(figures(found[size], "rate")) for size in sizes), spread(slower, 2), result]


def _pages_table(explained: dict[str, Any], sizes: list[str]) -> str:
    rows = [
        [read, *(f"{found[size]['pages']:,} pages, {found[size]['milliseconds']:.2f} ms" for size in sizes)]
        for read, found in explained.items()
    ]
    return markdown_table(["", *sizes], rows)


def _plans(explained: dict[str, Any], largest: str) -> str:
    blocks = [f"{read}:\n\n```\n{found[largest]['plan']}\n```" for read, found in explained.items()]
    inside = "\n\n".join(blocks)
    return f"<details>\n<summary>The plans at {largest} posts</summary>\n\n{inside}\n\n</details>"


def _plot(rounds: dict[str, Rounds], sizes: dict[str, int], folder: Path) -> None:
    series = {
        read: [(number, sorted(figures(found[name], "rate"))[len(found[name]) // 2]) for name, number in sizes.items()]
        for read, found in rounds.items()
        if "page" not in read or read.startswith("new")
    }
    plot.lines(folder / "growth.svg", series, labels=("posts", "requests/s"))


def _text(results: dict[str, Any]) -> str:
    sizes, words, matches = results["sizes"], results["words"], results["matches"]
    counts = "; ".join(
        f"{size}: {matches[size]['rare']:,} and {matches[size]['common']:,} posts" for size in results["sizes"]
    )
    return _TEXT.format(
        sizes=", ".join(f"{size:,}" for size in sizes.values()),
        connections=CONNECTIONS,
        limit=PAGE_LIMIT,
        page=f"{PAGE:,}",
        rare=words["rare"],
        common=words["common"],
        counts=counts,
    )


_BUFFERS = """\
What a read accesses in PostgreSQL, by `EXPLAIN (ANALYZE, BUFFERS)` of the statement that the service sent: pages of
8 KiB, and the execution time alone. An index gets one more level when its entries grow by a factor of a hundred or
more; reads by id or by keyset are not affected otherwise. A search for a rare word fetches every post with that word
and sorts them: ten times the posts are about ten times the matches. From some number of matches on, the planner scans
the index of the order instead, as for a common word, until a page is full: for a common word this takes the same number
of posts at any size, for a rare one far too many. If the plan below removes thousands of rows by its filter, the search
is slow for this reason; a planner configured for fast disks (`random_page_cost`) would use the matches for longer."""

_TEXT = """\
## Growth

The same reads on the content service alone with {sizes} posts and {connections} connections, all sizes in turn. The
additional posts are generated from halves of the real titles, so that common words stay common and rare ones rare, and
have ten votes each. Pages have {limit} posts, so that page {page} exists at each size. The rare word is "{rare}", the
common one "{common}"; their matches are ({counts})."""
