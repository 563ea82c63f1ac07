"""Receivers that hang leave lanes to those that work."""

from collections.abc import Iterable

from kpi_auth.webhooks.lanes import Lanes


def working(lanes: Lanes, webhooks: Iterable[int]) -> None:
    for webhook_id in webhooks:
        lanes.note(webhook_id, is_success=True)


def take(lanes: Lanes, allotted: dict[int, int]) -> None:
    for webhook_id, count in allotted.items():
        for _ in range(count):
            lanes.take(webhook_id)


def test_a_webhook_that_works_gets_several_lanes_and_one_that_fails_gets_one() -> None:
    lanes = Lanes(total=32, each=4)
    assert lanes.allot([1]) == {1: 1}
    lanes.note(1, is_success=True)
    assert lanes.allot([1]) == {1: 4}
    take(lanes, {1: 3})
    assert lanes.allot([1]) == {1: 1}
    lanes.note(1, is_success=False)
    assert lanes.allot([1]) == {}


def test_those_that_fail_together_get_half_of_the_lanes() -> None:
    lanes = Lanes(total=8, each=4)
    failing = list(range(100, 120))
    for webhook_id in failing:
        lanes.note(webhook_id, is_success=False)
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
    lanes.note(1, is_success=False)
    lanes.note(2, is_success=False)
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
