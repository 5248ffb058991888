"""Waiting between tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compute_router.worker.backoff import BASE, CAP, Backoff, ceiling

failures = st.integers(min_value=0, max_value=10_000)
rolls = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(failures)
def test_the_ceiling_is_between_base_and_cap(count: int) -> None:
    assert BASE <= ceiling(count) <= CAP


@given(failures)
def test_the_ceiling_doubles_until_it_meets_the_cap(count: int) -> None:
    assert ceiling(count + 1) == min(CAP, 2 * ceiling(count))


@given(st.lists(rolls, min_size=1, max_size=50))
def test_every_delay_lies_under_the_ceiling_of_its_try(drawn: list[float]) -> None:
    roll = iter(drawn)
    backoff = Backoff(lambda: next(roll))
    for count in range(len(drawn)):
        assert 0 <= backoff.next_delay() < ceiling(count)


@given(st.integers(min_value=1, max_value=20), rolls)
def test_after_a_registration_the_delays_start_over(count: int, roll: float) -> None:
    backoff = Backoff(lambda: roll)
    first = backoff.next_delay()
    for _ in range(count):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == first
