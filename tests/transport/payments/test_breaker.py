from __future__ import annotations

import pytest

from compute_router.transport.payments.breaker import Breaker
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(clock.steady_ms)


def test_three_failures_in_a_row_open_it(breaker: Breaker) -> None:
    for _ in range(2):
        breaker.failed()
        assert breaker.take_turn()
    breaker.failed()
    assert not breaker.take_turn()
    assert breaker.wait_ms == 1000


def test_a_success_in_between_counts(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.take_turn()


def test_after_the_pause_one_call_tries_and_the_others_wait_for_it(
    breaker: Breaker, clock: FakeClock
) -> None:
    breaker.trip()
    clock.advance(1000)
    assert breaker.take_turn()
    assert not breaker.take_turn()
    breaker.succeeded()
    assert breaker.take_turn()
    assert breaker.take_turn()


def test_pauses_double_up_to_half_a_minute(breaker: Breaker, clock: FakeClock) -> None:
    pauses = []
    for _ in range(8):
        breaker.trip()
        pauses.append(breaker.wait_ms)
        clock.advance(breaker.wait_ms)
    assert pauses == [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]


def test_calls_from_before_the_pause_do_not_lengthen_it(breaker: Breaker, clock: FakeClock) -> None:
    for _ in range(20):
        breaker.failed()
    assert breaker.wait_ms == 1000
    clock.advance(1000)
    assert breaker.take_turn()
    for _ in range(20):
        breaker.failed()
    assert breaker.wait_ms == 2000


def test_one_that_tries_and_is_broken_off_leaves_its_turn_to_one_other(
    breaker: Breaker, clock: FakeClock
) -> None:
    breaker.trip()
    clock.advance(1000)
    assert breaker.take_turn()
    tried = [breaker.is_tried]
    breaker.give_back()
    assert [*tried, breaker.is_tried] == [True, False]
    assert breaker.take_turn()
    assert not breaker.take_turn()
    breaker.failed()
    assert breaker.wait_ms == 2000


def test_where_nobody_tries_there_is_no_turn_to_give_back(breaker: Breaker) -> None:
    assert breaker.take_turn()
    assert not breaker.is_tried
    breaker.trip()
    breaker.give_back()
    assert breaker.wait_ms == 1000
