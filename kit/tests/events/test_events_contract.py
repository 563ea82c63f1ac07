"""What the event bus promises, whatever its driver: the same tests for the fake, memory, PostgreSQL and NATS."""

import asyncio
from uuid import uuid4

import pytest
from events_support import (
    EVENTS,
    AddressCreated,
    Case,
    Ear,
    OrderCreated,
    UserCreated,
    UserRenamed,
    Watch,
    until,
    until_received,
)
from kpi_kit.errors import NotOpenError, UrlError
from kpi_kit.events import (
    Event,
    EventBus,
    EventError,
    EventFake,
    EventNameError,
    EventTooLargeError,
    Failure,
    UnknownEventError,
    listens,
)
from kpi_kit.events.event import check_name, compile_pattern
from kpi_kit.events.receiving import run_with_renewals
from opening_support import open_anew

ANNA = UserCreated(name="Änna\n")


async def test_listeners_get_what_matches_in_the_order_of_sending(case: Case) -> None:
    ears = {pattern: Ear() for pattern in ("user.created", "user.*", "*.created", "*", "user.*.created", "order.*")}
    async with case.build() as bus:
        for pattern, ear in ears.items():
            bus.listen(pattern, ear)
        await until_received(bus, ears["order.*"])
        for ear in ears.values():
            ear.heard.clear()
        sent = [ANNA, UserRenamed(name="Bea"), AddressCreated(), OrderCreated(number=1)]
        for event in sent:
            await bus.dispatch(event)
        await until(lambda: len(ears["order.*"].heard) == 1)
    heard = {pattern: [each.event_name for each in ear.heard] for pattern, ear in ears.items()}
    assert heard == {
        "user.created": ["user.created"],
        "user.*": ["user.created", "user.renamed", "user.address.created"],
        "*.created": ["user.created", "user.address.created", "order.created"],
        "*": ["user.created", "user.renamed", "user.address.created", "order.created"],
        "user.*.created": ["user.address.created"],
        "order.*": ["order.created"],
    }
    assert ears["*"].heard == sent
    assert {type(each) for each in ears["*"].heard} == set(EVENTS)


class Subscriber:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    @listens(UserCreated, "user.renamed")
    async def note_user(self, event: UserCreated | UserRenamed) -> None:
        self.heard.append(("note_user", event.name))

    @listens("*.created")
    async def note_new(self, event: Event) -> None:
        self.heard.append(("note_new", event.event_name))


async def test_a_subscriber_has_several_listeners(case: Case) -> None:
    subscriber, ear = Subscriber(), Ear()
    async with case.build() as bus:
        bus.subscribe(subscriber)
        bus.listen(OrderCreated, ear)
        await until_received(bus, ear)
        subscriber.heard.clear()
        await bus.dispatch(UserCreated(name="Anna"))
        await bus.dispatch(UserRenamed(name="Bea"))
        await until(lambda: ("note_user", "Bea") in subscriber.heard)
        with pytest.raises(EventError, match="@listens"):
            bus.subscribe(object())
    assert subscriber.heard == [("note_user", "Anna"), ("note_new", "user.created"), ("note_user", "Bea")]


async def test_a_listener_that_fails_does_not_stop_the_others(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    bad, ear, watch = Ear(LookupError("secret Änna")), Ear(), Watch()
    bus = case.build() if case.name == "fake" else case.build(observer=watch)
    async with bus:
        bus.listen("user.*", bad)
        bus.listen("*", ear)
        await until_received(bus, ear)
        for number in range(3):
            await bus.dispatch(UserCreated(name=f"Änna {number}"))
        await until(lambda: len(ear.heard) == 3)
    assert [type(each) for each in bad.heard] == [UserCreated] * 3, "and it is not called again for the same event"
    assert list(bus.failures) == [Failure("events_support.Ear", "user.created", "LookupError")] * 3
    assert "LookupError" in caplog.text
    assert "nna" not in caplog.text
    if case.name != "fake":
        assert ("events", "listen", case.name, "LookupError") in watch.seen
        assert ("events", "dispatch", case.name, "") in watch.seen


@pytest.mark.parametrize("concurrent", [False, True])
async def test_a_listener_whose_own_task_was_cancelled_fails_like_any_other(case: Case, *, concurrent: bool) -> None:
    async def await_cancelled(_event: UserCreated) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    ear = Ear()
    async with case.build(concurrent=concurrent) as bus:
        bus.listen(UserCreated, await_cancelled)
        bus.listen("*", ear)
        await until_received(bus, ear)
        for name in ("Anna", "Bea"):
            await bus.dispatch(UserCreated(name=name))
        await until(lambda: ear.heard == [UserCreated(name="Anna"), UserCreated(name="Bea")])
    assert [failure.error for failure in bus.failures] == ["CancelledError"] * 2


async def test_a_dispatch_that_is_cancelled_ends() -> None:
    begun, ear = asyncio.Event(), Ear()

    async def hang(_event: UserCreated) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with EventFake(events=EVENTS) as bus:
        bus.listen(UserCreated, hang)
        bus.listen(UserCreated, ear)
        task = asyncio.create_task(bus.dispatch(ANNA))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not ear.heard
    assert not bus.failures


async def test_the_task_of_a_listener_that_it_cancels_itself_does_not_end_the_receiving(
    durable: Case, caplog: pytest.LogCaptureFixture
) -> None:
    async def cancel_itself(_event: UserCreated) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    ear = Ear()
    async with durable.build() as bus:
        bus.listen(UserCreated, cancel_itself)
        bus.listen(OrderCreated, ear)
        await until_received(bus, ear)
        await bus.dispatch(ANNA)
        await bus.dispatch(OrderCreated(number=1))
        await until(lambda: ear.heard == [OrderCreated(number=1)])
    assert "was not delivered to all" in caplog.text


async def test_an_error_of_the_work_is_raised_by_run_with_renewals() -> None:
    async def fail() -> None:
        raise LookupError("of the work")

    async def renew() -> None: ...

    with pytest.raises(LookupError, match="of the work"):
        await run_with_renewals(fail(), renew=renew, every=10)


async def test_with_concurrent_no_listener_waits_for_another(case: Case) -> None:
    met, ear = asyncio.Barrier(2), Ear()

    async def meet(_event: UserCreated) -> None:
        async with asyncio.timeout(20), met:
            pass

    async with case.build(concurrent=True) as bus:
        bus.listen(UserCreated, meet)
        bus.listen(UserCreated, meet)
        bus.listen("*", ear)
        await until_received(bus, ear)
        await bus.dispatch(ANNA)
        await bus.dispatch(OrderCreated(number=2))
        await until(lambda: OrderCreated(number=2) in ear.heard)
        assert not bus.failures


async def test_what_cannot_be_sent_is_refused(case: Case) -> None:
    class Other(Event):
        event_name = "other"

    class Pretender(Event):
        event_name = "user.created"

    bus = case.build()
    with pytest.raises(NotOpenError):
        await bus.dispatch(ANNA)
    async with bus:
        for event in (Other(), Pretender()):
            with pytest.raises(UnknownEventError):
                await bus.dispatch(event)
        with pytest.raises(EventTooLargeError):
            await bus.dispatch(UserCreated(name="a" * 300_000))
        await bus.dispatch(UserCreated(name="a" * 200_000))


async def test_an_event_of_another_version_is_noted_and_the_next_one_comes(case: Case) -> None:
    ear = Ear()
    async with case.build() as bus:
        bus.listen("*", ear)
        await until_received(bus, ear)
        await bus._driver.publish("user.created", b'{"another": 1}', uuid4().hex)
        await bus._driver.publish("user.unknown", b"{}", uuid4().hex)
        await bus._driver.publish("user.address.created", b'{"street": "odd"}', uuid4().hex)
        await bus.dispatch(ANNA)
        await until(lambda: ear.heard == [ANNA])
        assert [(failure.event, failure.error) for failure in bus.failures] == [
            ("user.created", "ValidationError"),
            ("user.unknown", "KeyError"),
            ("user.address.created", "LookupError"),
        ]


async def test_each_group_gets_each_event_and_one_of_its_processes(durable: Case) -> None:
    ears = [Ear() for _ in range(3)]
    groups = ["a", "a", "b"]
    buses = [durable.build(group=group) for group in groups]
    for bus, ear in zip(buses, ears, strict=True):
        await bus.__aenter__()
        bus.listen("*", ear)
    await until_received(buses[0], ears[2])
    async with asyncio.timeout(30):
        while not (ears[0].heard or ears[1].heard):
            await buses[0].dispatch(OrderCreated(number=-1))
            await asyncio.sleep(0.05)
    sent = [UserCreated(name=str(number)) for number in range(40)]
    await asyncio.gather(*(buses[number % 3].dispatch(event) for number, event in enumerate(sent)))

    def names(*which: int) -> list[str]:
        return sorted(each.name for number in which for each in ears[number].heard if isinstance(each, UserCreated))

    wanted = sorted(event.name for event in sent)
    await until(lambda: len(names(0, 1)) >= 40 and len(names(2)) >= 40)
    for bus in buses:
        await bus.__aexit__(None, None, None)
    assert names(0, 1) == names(2) == wanted


@pytest.mark.parametrize("listens_before", [True, False])
async def test_a_new_group_gets_all_that_is_sent_once_its_bus_is_open_and_listens(
    durable: Case, *, listens_before: bool
) -> None:
    """Those of other processes, too, if its listeners are registered before."""
    ear, bus = Ear(), durable.build(group="new")
    async with durable.build() as other:
        await other.dispatch(UserCreated(name="before"))
        if listens_before:
            bus.listen("*", ear)
        async with bus:
            if not listens_before:
                bus.listen("*", ear)
            await (other if listens_before else bus).dispatch(ANNA)
            await bus.dispatch(OrderCreated(number=1))
            await until(lambda: OrderCreated(number=1) in ear.heard)
    assert ear.heard == [ANNA, OrderCreated(number=1)]


async def test_what_a_process_had_not_done_when_it_ended_comes_to_the_next(durable: Case) -> None:
    ear = Ear()
    begun = asyncio.Event()

    async def hang(_event: UserCreated) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with durable.build() as bus:
        bus.listen(OrderCreated, ear)
        bus.listen(UserCreated, hang)
        await until_received(bus, ear)
        await bus.dispatch(ANNA)
        await begun.wait()
    async with durable.build() as sender:
        await sender.dispatch(UserCreated(name="sent while no process listened"))
    async with durable.build() as bus:
        bus.listen(UserCreated, ear)
        await until(lambda: len(ear.heard) == 2)
    assert ear.heard == [ANNA, UserCreated(name="sent while no process listened")]


@pytest.mark.parametrize(
    "text", ["", "User.created", "user..created", "user created", ".a", "a.", "a" * 101, "a*", "ä"]
)
def test_names_and_patterns_have_a_form(text: str) -> None:
    for check in (check_name, compile_pattern):
        with pytest.raises(EventNameError):
            check(text)
    assert issubclass(EventNameError, ValueError)
    with pytest.raises(EventNameError):
        check_name("user.*")


@pytest.mark.parametrize(
    "url",
    [
        *("memory://?group=a", "postgresql://h/n?group=A", "postgresql://h/n?timeout=0", "nats://?group=a"),
        *("nats://h?stream=a.b", "redis://h", "postgresql://u:secret@h/n?odd=1", "nats://u:secret@h:port"),
    ],
)
def test_a_url_that_is_wrong_is_refused_unquoted(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        EventBus.from_url(url, events=EVENTS)
    assert "secret" not in str(caught.value)


async def test_the_fake_records_what_was_dispatched() -> None:
    async with EventFake(events=EVENTS) as bus:
        bus.assert_nothing_dispatched()
        await bus.dispatch(ANNA)
        bus.assert_dispatched(ANNA)
        assert bus.find(UserCreated) == [ANNA]
        with pytest.raises(AssertionError, match="Bea"):
            bus.assert_dispatched(UserCreated(name="Bea"))
        with pytest.raises(AssertionError, match=r"user\.created"):
            bus.assert_nothing_dispatched()


async def test_it_is_opened_again_after_it_is_closed(case: Case) -> None:
    ear = Ear()
    async with case.build() as bus:
        bus.listen("*", ear)
        await until_received(bus, ear)
        await open_anew(bus, lambda: bus.dispatch(ANNA))
        await until_received(bus, ear)
