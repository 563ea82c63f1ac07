"""Observability of the three real processes: metrics, the log lines of a request, and its trace."""

import os
import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kpi_shared.testing.collector import Collector, ExportedSpan, run_collector
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import free_port, read_log, start_part, wait_for_records
from stack import join, service_settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests look into processes of their own"),
]
# What auth writes at the start of an installation that has no admin.
NO_ADMIN = "no admin yet: make one with kpi bootstrap or POST /bootstrap"
PARTS = ("auth", "content", "gateway")
REQUESTS = "kpi_http_requests_total"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT = 2, 3


@dataclass(frozen=True)
class Observed:
    gateway: str
    metrics: Mapping[str, int]
    folder: Path
    kept: Collector

    def scrape(self, part: str) -> Scrape:
        return Scrape.of(self.metrics[part])

    def lines(self, part: str) -> list[dict[str, object]]:
        return read_log(self.folder / f"{part}.log")

    def wait_for(self, part: str, request_id: str, count: int = 1) -> list[dict[str, object]]:
        """The lines of a request's end, which are written after its response is sent."""
        return wait_for_records(self.folder / f"{part}.log", count, event="request", request_id=request_id)


@pytest.fixture(scope="module")
def observed(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A platform with metrics enabled, a collector for its traces, and every request in its logs."""
    folder = tmp_path_factory.mktemp("observed")
    ports = {part: free_port() for part in PARTS}
    with ExitStack() as stack:
        kept = stack.enter_context(run_collector())
        common = {"OTEL_EXPORTER_OTLP_ENDPOINT": kept.url, "OTEL_BSP_SCHEDULE_DELAY": "100", "DEBUG": "true"}

        def start(part: str, settings: Mapping[str, str]) -> str:
            own = {**common, "METRICS_PORT": str(ports[part]), **settings}
            return stack.enter_context(start_part(f"kpi_{part}", own, log=folder / f"{part}.log"))

        services = service_settings(f"observed_{worker}", secret_key)
        mails = {"MAIL_URL": (folder / "mails").as_uri()}
        urls = {
            "AUTH_URL": start("auth", services["auth"] | mails | {"AUTH_SECRET_KEY": secrets.token_hex(32)}),
            "CONTENT_URL": start("content", services["content"]),
        }
        yield Observed(start("gateway", urls), ports, folder, kept)


@pytest.fixture
def client(observed: Observed) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=observed.gateway, timeout=30) as client:
        yield client


def test_each_part_counts_requests_by_its_own_templates(observed: Observed, client: httpx.Client) -> None:
    before = {part: observed.scrape(part) for part in ("gateway", "content")}
    for _ in range(3):
        assert client.get(f"/api/v1/posts/{uuid.uuid4().int % 10**9}").status_code == 404
    templates = {"gateway": "/posts", "content": "/posts/{post_id}"}
    for part, route in templates.items():
        labels = {"part": part, "route": route, "method": "GET", "status": "404"}
        expected = before[part].value(REQUESTS, **labels) + 3
        found = _scrape_after(observed.metrics[part], labels, expected)
        assert found.value(REQUESTS, **labels) == expected
        timed = {"part": part, "route": route, "method": "GET", "le": "+Inf"}
        assert found.value("kpi_http_request_duration_seconds_bucket", **timed) >= 3


def _scrape_after(port: int, labels: Mapping[str, str], count: float) -> Scrape:
    """The metrics once so many requests are counted, which is after their responses are sent."""
    return Scrape.wait_for(port, lambda found: found.value(REQUESTS, **labels) >= count)


def test_a_service_has_metrics_of_its_pools_hashes_and_mails(observed: Observed, client: httpx.Client) -> None:
    join(client)
    for part in ("auth", "content"):
        found = observed.scrape(part)
        for pool in ("reads", "writes"):
            assert found.value("kpi_database_connections", pool=pool, state="size") == 5
            assert found.value("kpi_database_waiting", pool=pool) == 0
        assert found.labels("kpi_database_refused_total", "pool") == {"reads", "writes"}
        assert found.value("process_resident_memory_bytes") > 0
    auth = observed.scrape("auth")
    assert auth.labels("kpi_auth_hashes", "state") == {"room", "running", "waiting"}
    assert auth.value("kpi_auth_hashes", state="room") >= 33
    assert auth.value("kpi_auth_hashes_refused_total") == 0
    assert auth.labels("kpi_auth_mail_attempts_total", "state") == {"sent", "pending", "dead"}


def test_metrics_are_not_public(observed: Observed, client: httpx.Client) -> None:
    for path in ("/metrics", "/api/metrics", "/api/v1/metrics"):
        assert client.get(path).status_code == 404


def test_a_request_has_one_id_in_the_logs_of_all_parts(observed: Observed, client: httpx.Client) -> None:
    name = f"one-{uuid.uuid4().hex}"
    headers = {"X-Request-ID": name, "traceparent": f"00-{TRACE}-{PARENT}-01"}
    for path in ("/api/v1/auth/me", "/api/v1/posts"):
        client.get(path, headers=headers)

    def lines_of(part: str) -> list[dict[str, object]]:
        return [dict(line) for line in observed.lines(part) if line.get("request_id") == name]

    for part in PARTS:
        observed.wait_for(part, name)
        mine = lines_of(part)
        assert {line["event"] for line in mine} == {"request"}
        assert {(line["part"], line["trace_id"]) for line in mine} == {(f"kpi-{part}", TRACE)}


def test_all_log_lines_of_a_request_have_its_id(observed: Observed, client: httpx.Client) -> None:
    join(client)
    last = f"last-{uuid.uuid4().hex}"
    client.get("/api/v1/posts?limit=0", headers={"X-Request-ID": last})
    client.get("/api/v1/auth/me", headers={"X-Request-ID": last})
    client.get("/nowhere", headers={"X-Request-ID": last})
    for part, count in {"auth": 1, "content": 1, "gateway": 3}.items():
        observed.wait_for(part, last, count)
    # Workers run outside of requests, and may or may not have sent this request's mail yet.
    beside_requests = {
        "audit checkpoint",
        "housekeeping",
        "mail sent",
        "mail written",
        "metrics served",
        "rate limits",
        NO_ADMIN,
    }
    for part in PARTS:
        lines = observed.lines(part)
        served = [line for line in lines if line["event"] == "request"]
        assert served
        assert all(line["request_id"] for line in served)
        others = [line for line in lines if "request_id" not in line]
        # uvicorn's own lines are about start-up and shutdown.
        assert {line["event"] for line in others if not _is_of_the_server(line)} <= beside_requests


def _is_of_the_server(line: Mapping[str, object]) -> bool:
    event = str(line["event"])
    return event.startswith(("Started", "Waiting", "Application", "Uvicorn", "Finished", "Shutting"))


def test_gateway_and_service_are_one_trace(observed: Observed, client: httpx.Client) -> None:
    trace = uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace}-{PARENT}-01", "tracestate": "vendor=1"}
    assert client.get("/api/v1/posts/0", headers=headers).status_code in {404, 422}
    spans = observed.kept.wait(lambda spans: len(_of(spans, trace)) == 3)
    by_role = {(span.service, span.kind): span for span in _of(spans, trace)}
    gateway, call = by_role["kpi-gateway", SERVER], by_role["kpi-gateway", CLIENT]
    service = by_role["kpi-content", SERVER]
    assert (gateway.parent_id, call.parent_id, service.parent_id) == (PARENT, gateway.span_id, call.span_id)
    assert (gateway.name, service.name) == ("GET /posts", "GET /posts/{post_id}")
    statuses = {span.attributes["http.response.status_code"] for span in (gateway, call, service)}
    assert len(statuses) == 1
    # A 4xx is an error of the client span, but not of the server spans.
    assert [span.is_error for span in (gateway, call, service)] == [False, True, False]


def test_a_request_without_a_trace_starts_one_that_is_in_the_logs(observed: Observed, client: httpx.Client) -> None:
    name = f"new-{uuid.uuid4().hex}"
    client.get("/api/v1/posts", headers={"X-Request-ID": name, "traceparent": "00-not-a-trace-01"})
    traces = {line["trace_id"] for part in ("gateway", "content") for line in observed.wait_for(part, name)}
    (trace,) = traces
    observed.kept.wait(lambda spans: len(_of(spans, str(trace))) == 3)


def _of(spans: list[ExportedSpan], trace: str) -> list[ExportedSpan]:
    return [span for span in spans if span.trace_id == trace]
