"""Receivers that hang or answer late leave lanes to those that work."""

from collections.abc import Iterable

from kpi_auth.webhooks.lanes import Lanes


def working(lanes: Lanes, webhooks: Iterable[int]) -> None:
    for webhook_id in webhooks:
        lanes.note(webhook_id, is_good=True)


def take(lanes: Lanes, allotted: dict[int, int]) -> None:
    for webhook_id, count in allotted.items():
        for _ in range(count):
            lanes.take(webhook_id)


def test_a_webhook_that_works_gets_several_lanes_and_one_that_fails_gets_one() -> None:
    lanes = Lanes(total=32, each=4)
    assert lanes.allot([1]) == {1: 1}
    lanes.note(1, is_good=True)
    assert lanes.allot([1]) == {1: 4}
    take(lanes, {1: 3})
    assert lanes.allot([1]) == {1: 1}
    lanes.note(1, is_good=False)
    assert lanes.allot([1]) == {}


def test_those_that_fail_together_get_half_of_the_lanes() -> None:
    lanes = Lanes(total=8, each=4)
    failing = list(range(100, 120))
    for webhook_id in failing:
        lanes.note(webhook_id, is_good=False)
    take(lanes, lanes.allot(failing))
    assert len(lanes) == 4
    assert lanes.allot(failing) == {}
    working(lanes, [1])
    assert lanes.allot([*failing, 1]) == {1: 4}
    assert lanes.allot([*failing, 2]) == {2: 1}


def test_a_webhook_that_fails_later_counts_with_those_that_fail() -> None:
    lanes = Lanes(total=8, each=4)
    working(lanes, [1])
    take(lanes, lanes.allot([1]))
    lanes.note(1, is_good=False)
    lanes.note(2, is_good=False)
    assert lanes.allot([2]) == {}
    lanes.give_back(1)
    assert lanes.allot([2]) == {2: 1}


def test_lanes_are_dealt_in_rounds() -> None:
    lanes = Lanes(total=8, each=4)
    working(lanes, [1, 2, 3])
    assert lanes.allot([1, 2, 3]) == {1: 3, 2: 3, 3: 2}


def test_a_lane_that_is_given_back_is_free_again() -> None:
    lanes = Lanes(total=2, each=1)
    working(lanes, [1, 2, 3])
    take(lanes, lanes.allot([1, 2, 3]))
    assert lanes.allot([3]) == {}
    lanes.give_back(1)
    assert lanes.allot([3]) == {3: 1}
    assert len(lanes) == 1


def test_a_lane_goes_to_the_webhook_that_uses_the_fewest_before_age_counts() -> None:
    lanes = Lanes(total=8, each=4)
    working(lanes, [1, 2, 3])
    take(lanes, lanes.allot([1, 2]))
    assert lanes.allot([1, 2, 3]) == {}
    lanes.give_back(1)
    # The events of the first two are older, and they wait for this lane, too.
    assert lanes.allot([1, 2, 3]) == {3: 1}
    take(lanes, {3: 1})
    lanes.give_back(2)
    assert lanes.allot([2, 1, 3]) == {3: 1}


def test_webhooks_take_turns_however_old_the_events_of_others_are() -> None:
    lanes = Lanes(total=2, each=1)
    for webhook_id in (1, 2, 3):
        lanes.note(webhook_id, is_good=False)
    turns = []
    for _ in range(6):
        ((webhook_id, count),) = lanes.allot([1, 2, 3]).items()
        take(lanes, {webhook_id: count})
        lanes.give_back(webhook_id)
        turns.append(webhook_id)
    assert turns == [1, 2, 3, 1, 2, 3]
