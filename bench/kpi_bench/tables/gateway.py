"""The gateway compared with others, each alone on its core, in front of one upstream."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from kpi_bench import bodies, plots
from kpi_bench.gateways import BODY, GATEWAYS, OURS, USUAL, Place, tokens, upstream
from kpi_bench.harness import Measure, figures, markdown_table, ratios, report, run_in_turn, spread, verdict
from kpi_bench.options import BENCH, Options
from kpi_bench.processes import BenchError, Server, free_port, serve
from kpi_bench.steady import measure_latency
from kpi_bench.wrk import Wrk

NAME = "gateway"

_DIRECT = "upstream alone"
_WITH_TOKENS = "KPI-One, with tokens"
_TOKENS = 100
_WRK = Wrk(connections=64)
_WARM_UP_SECONDS = 2.0
# A body of 1 GiB takes seconds, and three rounds are enough to show whether the memory stays flat.
_BODY_ROUNDS = 3
# A gateway that used less than this share of its core waited for the load or for the upstream.
_SATURATED = 0.93
_MOST_GROWTH_MB = 20

Bodies = dict[str, dict[str, list[dict[str, float]]]]


def run(options: Options) -> dict[str, Any]:
    return {**_measure_speed(options), "bodies": _measure_bodies(options)}


def _measure_speed(options: Options) -> dict[str, Any]:
    behind = Place(free_port(), 0, options.work / "upstream")
    with ExitStack() as stack:
        stack.enter_context(serve(upstream(behind), options.log("upstream"), ready=behind.url))
        contenders: dict[str, Measure] = {_DIRECT: lambda seconds: {"rate": _WRK.run(behind.url, seconds).rate}}
        for name in GATEWAYS:
            server, place = stack.enter_context(run_gateway(name, behind, options))
            _check(place)
            _WRK.run(place.url, _WARM_UP_SECONDS)
            contenders[name] = _measure(server, place, behind)
            if name == OURS:
                contenders[_WITH_TOKENS] = _measure_with_tokens(place)
        rounds = run_in_turn(contenders, options, what=NAME)
    return {"direct": rounds.pop(_DIRECT), "with_tokens": rounds.pop(_WITH_TOKENS), "rounds": rounds}


@contextmanager
def run_gateway(name: str, behind: Place, options: Options) -> Iterator[tuple[Server, Place]]:
    folder = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    place = Place(free_port(), behind.port, options.work / folder)
    place.work.mkdir(parents=True, exist_ok=True)
    with serve(GATEWAYS[name](place), options.log(folder), ready=place.url) as server:
        yield server, place


def _check(place: Place) -> None:
    """A gateway that responds with anything else would be measured doing something else."""
    with urlopen(place.url) as response:  # noqa: S310 the benchmark's own address
        body = response.read().decode()
    if body != BODY:
        raise BenchError(f"{place.work.name} responds with {body[:200]!r}")


def _measure_with_tokens(place: Place) -> Measure:
    load = Wrk(connections=64, script=BENCH / "with_tokens.lua", arguments=tokens(_TOKENS))
    return lambda seconds: {"rate": load.run(place.url, seconds).rate}


def _measure(server: Server, place: Place, behind: Place) -> Measure:
    def measure(seconds: float) -> dict[str, float]:
        before = server.cpu_seconds()
        load = _WRK.run(place.url, seconds)
        cpu = server.cpu_seconds() - before
        through = measure_latency(place.url, load.rate / 2, seconds)
        direct = measure_latency(behind.url, load.rate / 2, seconds)
        return {
            "rate": load.rate,
            "core": cpu * load.rate / load.requests,
            "cpu_us": cpu / load.requests * 1e6,
            "p50": through.p50,
            "p99": through.p99,
            "direct_p50": direct.p50,
            "direct_p99": direct.p99,
            "added_p50": through.p50 - direct.p50,
            "added_p99": through.p99 - direct.p99,
            "late": through.late / through.requests,
            "errors": load.errors + through.errors,
            "memory_mb": server.memory_bytes() / 1e6,
        }

    return measure


def _measure_bodies(options: Options) -> Bodies:
    """Start each gateway again for each body. One that fails has fewer figures, and the progress output shows why."""
    found: Bodies = {name: {"upload": [], "download": []} for name in GATEWAYS}
    behind = Place(free_port(), 0, options.work / "bodies")
    with serve(bodies.program(behind.port), options.log("bodies"), ready=behind.url):
        for _ in range(min(options.rounds, _BODY_ROUNDS)):
            for name, way in [(name, way) for name in GATEWAYS for way in ("upload", "download")]:
                try:
                    found[name][way].append(_measure_body(name, way, behind, options))
                except (BenchError, OSError) as error:
                    report(f"1 GiB {way}: {name}: failed: {error}")
    return found


def _measure_body(name: str, way: str, behind: Place, options: Options) -> dict[str, float]:
    with run_gateway(name, behind, options) as (server, place):
        _WRK.run(place.url, 1)
        found = bodies.transfer(server, f"{place.url}/large", upload=way == "upload")
    report(f"1 GiB {way}: {name}: {found['mb_per_second']:,.0f} MB/s, {found['growth_mb']:.1f} MB more memory")
    return found


def render(results: dict[str, Any], folder: Path) -> str:
    plots.bars(
        folder / "gateway.svg",
        {name: _bar(one, "rate") for name, one in _sort_by_rate(results)},
        unit=_UNIT,
        ours=[OURS],
    )
    added = {name: _bar(one, "added_p50") for name, one in _sort_by_rate(results)}
    plots.bars(folder / "gateway-latency.svg", added, unit="added p50, ms", ours=[OURS])
    return "\n\n".join(
        [
            "## The gateway compared with others",
            _INTRODUCTION,
            "![Requests per second of one core](performance/gateway.svg)",
            _rates(results),
            _remarks(results),
            "### Added latency",
            _LATENCY,
            "![Added latency](performance/gateway-latency.svg)",
            _latencies(results),
            "### Memory, and a body of 1 GiB each way",
            _BODIES,
            _memory(results),
            "### Targets",
            _targets(results),
        ]
    )


_UNIT = "requests/s of one core"

_INTRODUCTION = """\
Each gateway has a core to itself, and forwards `GET /posts` to the same upstream: nginx with 700 bytes of JSON, on the
other core together with the load. Ours runs with all its production features: limits (too high to be reached), metrics,
request ids, security header fields, JSON logs at `INFO`. The others forward, set `X-Forwarded-For` if their
documentation does, and log nothing. Their configurations are in `bench/peers/gateway`."""

_LATENCY = """\
Requests come at a constant rate, half of what the gateway reached in the same round, on 64 connections. Each has a
scheduled time, whether or not earlier requests are complete, and latency is measured from that time. "Added" is
the difference from the same rate directly on the upstream, measured right after. In milliseconds."""

_BODIES = """\
Resident memory after the load above; and how much that of a newly started, warmed-up process grows at most while one
client sends or fetches 1 GiB. By default nginx buffers uploads on disk first; here this is disabled."""


def _sort_by_rate(results: dict[str, Any]) -> list[tuple[str, list[dict[str, float]]]]:
    return sorted(results["rounds"].items(), key=lambda item: -median(figures(item[1], "rate")))


def _bar(rounds: list[dict[str, float]], name: str) -> plots.Bar:
    values = figures(rounds, name)
    return median(values), min(values), max(values)


def _format_name(name: str) -> str:
    return f"**{name}**" if name == OURS else name


def _rates(results: dict[str, Any]) -> str:
    ours = figures(results["rounds"][OURS], "rate")
    rows = [
        [
            _format_name(name),
            spread(figures(rounds, "rate")),
            spread(figures(rounds, "cpu_us"), 1),
            f"{median(figures(rounds, 'core')):.0%}",
            "1" if name == OURS else spread(ratios(ours, figures(rounds, "rate")), 2),
        ]
        for name, rounds in _sort_by_rate(results)
    ]
    return markdown_table(["gateway", "requests/s", "CPU per request, us", "share of its core", "ours : this"], rows)


def _remarks(results: dict[str, Any]) -> str:
    """What a reader must know to judge the figures: which gateways were not at their limit, and what failed."""
    waiting = [name for name, one in results["rounds"].items() if median(figures(one, "core")) < _SATURATED]
    failed = {name: sum(figures(one, "errors")) for name, one in results["rounds"].items()}
    lines = [f"wrk and the upstream alone, on their one core, reach {spread(figures(results['direct'], 'rate'))}/s."]
    lines.append(f"Ours with {_TOKENS} tokens in turn: {spread(figures(results['with_tokens'], 'rate'))}/s.")
    if waiting:
        lines.append(f"Not limited by their own core, but by the load or other work: {', '.join(waiting)}.")
    lines += [f"{name}: {number:.0f} requests failed." for name, number in failed.items() if number]
    return " ".join(lines)


def _latencies(results: dict[str, Any]) -> str:
    columns = ("p50", "p99", "added_p50", "added_p99")
    rows = [
        [_format_name(name), spread([rate / 2 for rate in figures(rounds, "rate")])]
        + [spread(figures(rounds, column), 2) for column in columns]
        for name, rounds in _sort_by_rate(results)
    ]
    return markdown_table(["gateway", "at requests/s", "p50", "p99", "added p50", "added p99"], rows)


def _memory(results: dict[str, Any]) -> str:
    found: Bodies = results["bodies"]
    head = ["gateway", "MB after load", "upload, MB/s", "grows by, MB", "download, MB/s", "grows by, MB"]
    rows = [
        [_format_name(name), f"{figures(rounds, 'memory_mb')[-1]:.0f}"]
        + [
            spread(figures(found[name][way], column), digits) if found[name][way] else "failed"
            for way in ("upload", "download")
            for column, digits in (("mb_per_second", 0), ("growth_mb", 1))
        ]
        for name, rounds in _sort_by_rate(results)
    ]
    return markdown_table(head, rows)


def _targets(results: dict[str, Any]) -> str:
    rounds = results["rounds"]
    ours = figures(rounds[OURS], "rate")
    rows = []
    for name, target in ((USUAL, 20.0), ("Express", 1.5), ("Fastify", 0.8)):
        values = ratios(ours, figures(rounds[name], "rate"))
        rows.append([f"requests/s: {name}", f"at least {target:g} times", spread(values, 2), verdict(values, target)])
    for column, limit in (("added_p50", 2.0), ("added_p99", 10.0)):
        values = figures(rounds[OURS], column)
        name = column.replace("_", " ")
        rows.append([f"{name}, ms", f"at most {limit:g}", spread(values, 2), verdict(values, limit, most=True)])
    for way, found in results["bodies"][OURS].items():
        values = figures(found, "growth_mb")
        reached = verdict(values, _MOST_GROWTH_MB, most=True)
        rows.append([f"growth at 1 GiB {way}, MB", f"under {_MOST_GROWTH_MB}", spread(values, 1), reached])
    for name in ("Fastify", "Caddy"):
        values = ratios(ours, figures(rounds[name], "rate"))
        rows.append([f"faster than {name} (goal)", "over 1 time", spread(values, 2), verdict(values, 1.0)])
    return markdown_table(["what", "target", "measured", ""], rows)
