from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.sdk.retries import Retries, longest_backoff_s, retry_after_s
from compute_router.sdk.steps import Answered
from tests.fakes.http_coordinator import FakeClock

SENT = "Mon, 09 Feb 2026 12:00:00 GMT"


def retries(timeout_s: float, fraction: float = 1.0) -> tuple[Retries, FakeClock]:
    clock = FakeClock()
    return Retries(clock() + timeout_s, clock, lambda: fraction), clock


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 5), (10_000, 5)])
def test_retries_slow_down_to_one_in_five_seconds(failures: int, seconds: float) -> None:
    assert longest_backoff_s(failures) == seconds


@pytest.mark.parametrize(("fraction", "pauses"), [(1.0, [0.5, 1, 2]), (0.5, [0.25, 0.5, 1]), (0, [0, 0, 0])])
def test_the_whole_backoff_is_random(fraction: float, pauses: list[float]) -> None:
    these, _ = retries(60, fraction)
    assert [these.pause_s() for _ in range(3)] == pauses


def test_an_answer_makes_retries_quick_again() -> None:
    these, _ = retries(60)
    assert [these.pause_s(), these.pause_s()] == [0.5, 1]
    these.succeeded()
    assert these.pause_s() == 0.5


def test_the_last_pause_ends_with_the_time() -> None:
    these, clock = retries(0.3)
    assert these.pause_s() == pytest.approx(0.3)
    clock.now += 0.5
    assert these.pause_s() is None


def test_no_time_at_all_allows_no_repeat() -> None:
    these, _ = retries(0)
    assert these.pause_s() is None


def test_an_asked_pause_is_kept_in_full_and_spread() -> None:
    these, _ = retries(60, fraction=0.5)
    assert these.pause_s(7) == 7.25


def test_an_asked_pause_that_does_not_fit_ends_the_repeats_at_once() -> None:
    these, _ = retries(10)
    assert these.pause_s(11) is None
    assert these.pause_s(10) == 10


@given(
    st.floats(min_value=0, max_value=300),
    st.lists(
        st.tuples(st.floats(min_value=0, max_value=20), st.none() | st.floats(min_value=0, max_value=100))
    ),
    st.randoms(use_true_random=False),
)
def test_no_pause_is_shorter_than_asked_or_reaches_beyond_the_time(
    timeout_s: float, failures: list[tuple[float, float | None]], source: random.Random
) -> None:
    clock = FakeClock()
    deadline = clock() + timeout_s
    these = Retries(deadline, clock, source.random)
    for took_s, asked_s in failures:
        clock.now += took_s
        pause_s = these.pause_s(asked_s)
        if pause_s is None:
            assert clock() + (asked_s or 0) >= deadline - 1e-6
            return
        assert pause_s >= (asked_s or 0)
        clock.now += pause_s
        assert clock() <= deadline + 1e-6


def answer(retry_after: str | None, date: str | None = SENT) -> Answered:
    headers = {"retry-after": retry_after, "date": date}
    return Answered(503, b"", {name: value for name, value in headers.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 3 ", 3),
        ("Mon, 09 Feb 2026 12:00:30 GMT", 30),
        ("Monday, 09-Feb-26 12:01:00 GMT", 60),
        ("Mon Feb  9 12:00:05 2026", 5),
        ("Mon, 09 Feb 2026 11:00:00 GMT", 0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663", None),
        ("Mon, 99 Feb 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_is_none(
    text: str | None, seconds: float | None
) -> None:
    assert retry_after_s(answer(text)) == seconds


def test_a_date_is_taken_by_the_coordinators_clock() -> None:
    later = "Mon, 09 Feb 2026 12:00:30 GMT"
    assert retry_after_s(answer(later, "Mon, 09 Feb 2026 12:00:20 GMT")) == 10
    assert retry_after_s(answer(later, None)) is None
