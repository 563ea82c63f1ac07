"""The circuit by a clock of its own, and what is observed."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kpi_kit.http import CircuitOpenError, CircuitState, HttpFake, Limits, StatusError, UnavailableStatusError
from kpi_kit.http.circuit import Circuit
from kpi_kit.http.messages import Request
from kpi_kit.http.retry_after import read_retry_after


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def attempt(circuit: Circuit, *, is_outage: bool | None) -> None:
    request = Request("GET", "a", "/")
    circuit.enter(request)
    circuit.record(request, is_outage=is_outage)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(open_after=3, open_for=10, clock=clock)


def open_it(circuit: Circuit) -> None:
    for _ in range(3):
        attempt(circuit, is_outage=True)
    assert circuit.state is CircuitState.OPEN


def test_only_failures_in_a_row_open_it(circuit: Circuit) -> None:
    for is_outage in (True, True, False, True, None, True):
        attempt(circuit, is_outage=is_outage)
    assert circuit.state is CircuitState.CLOSED
    attempt(circuit, is_outage=True)
    assert circuit.state is CircuitState.OPEN


def test_after_its_time_one_request_tries_and_its_success_closes_it(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.now = 9.9
    with pytest.raises(CircuitOpenError) as caught:
        circuit.enter(Request("GET", "a", "/"))
    assert caught.value.retry_after == pytest.approx(0.1)
    clock.now = 10
    probe = Request("GET", "a", "/")
    circuit.enter(probe)
    assert circuit.state is CircuitState.HALF_OPEN
    for _ in range(9):
        with pytest.raises(CircuitOpenError):
            circuit.enter(Request("GET", "a", "/"))
    circuit.record(probe, is_outage=False)
    assert circuit.state is CircuitState.CLOSED


def test_a_failed_try_opens_it_again(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.now = 10
    attempt(circuit, is_outage=True)
    clock.now = 19
    assert circuit.state is CircuitState.OPEN
    clock.now = 20
    attempt(circuit, is_outage=False)
    assert circuit.state is CircuitState.CLOSED


def test_a_cancelled_try_leaves_its_place_to_the_next(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.now = 10
    attempt(circuit, is_outage=None)
    assert circuit.state is CircuitState.HALF_OPEN
    attempt(circuit, is_outage=False)
    assert circuit.state is CircuitState.CLOSED


def test_what_was_sent_before_it_opened_does_not_close_it(circuit: Circuit, clock: Clock) -> None:
    early = Request("GET", "a", "/")
    circuit.enter(early)
    open_it(circuit)
    circuit.record(early, is_outage=False)
    assert circuit.state is CircuitState.OPEN
    late = Request("GET", "a", "/")
    clock.now = 5
    circuit.record(late, is_outage=True)
    clock.now = 10
    assert circuit.state is CircuitState.HALF_OPEN, "a late failure does not make it longer"


async def test_the_error_that_opened_it_is_the_one_that_is_raised() -> None:
    limits = Limits(attempts=5, first_wait=0, longest_wait=0, jitter=0, open_after=2)
    async with HttpFake(limits=limits) as http:
        http.answer("GET", "/x", status=503)
        with pytest.raises(UnavailableStatusError):
            await http.get("/x")
        http.assert_sent("GET", "/x", times=2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("9" * 50, 999_999_999),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("²", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert read_retry_after({"retry-after": text}) == seconds


def test_a_date_to_come_is_the_time_until_then() -> None:
    seconds = read_retry_after({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"})
    assert seconds is not None
    assert seconds > 365 * 24 * 3600


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, str | None]] = []

    @contextmanager
    def observe(self, library: str, operation: str, driver: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.calls.append((library, operation, driver, type(error).__name__))
            raise
        self.calls.append((library, operation, driver, None))


async def test_each_call_is_observed_once_with_its_error() -> None:
    recorder = Recorder()
    async with HttpFake(observer=recorder) as http:
        http.answer("GET", "/x", status=503)
        http.answer("GET", "/x", json=1)
        await http.with_token("a").get_json("/x")
        http.answer("BREW", "/x", status=418)
        with pytest.raises(StatusError):
            await http.request("BREW", "/x")
    assert recorder.calls == [("http", "get", "fake", None), ("http", "other", "fake", "StatusError")]


async def test_the_fake_says_what_was_not_sent() -> None:
    async with HttpFake() as http:
        http.assert_nothing_sent()
        with pytest.raises(AssertionError, match="no response is recorded for GET /x"):
            await http.get("/x")
        http.answer("POST", "/x", json={"id": 1})
        await http.post_json("/x", {"a": 1}, params={"q": 2}, headers={"X-A": "b"})
        http.assert_sent("POST", "/x", json={"a": 1}, headers={"x-a": "b"}, query="q=2", times=1)
        for wrong in ({"json": {"a": 2}}, {"headers": {"X-A": "c"}}, {"query": "q=3"}, {"times": 2}):
            with pytest.raises(AssertionError, match="sent was: GET /x, POST /x"):
                http.assert_sent("POST", "/x", **wrong)
        with pytest.raises(AssertionError):
            http.assert_nothing_sent()
