from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compute_router.sdk.rhythm import LONGEST_WAIT_S, POLL_INTERVAL_S, PollRhythm


def test_a_client_asks_the_coordinator_to_wait_for_what_is_left_of_its_time() -> None:
    assert PollRhythm().wait_s(29.2) == 30


def test_no_single_long_poll_is_longer_than_a_minute() -> None:
    assert PollRhythm().wait_s(3600) == 60
    assert PollRhythm(longest_wait_s=600).wait_s(3600) == LONGEST_WAIT_S


def test_the_last_look_does_not_wait() -> None:
    assert PollRhythm().wait_s(0) == 0
    assert PollRhythm().wait_s(-1) == 0


def test_a_held_answer_is_followed_by_the_next_long_poll_at_once() -> None:
    rhythm = PollRhythm()
    assert rhythm.pause_s(asked_wait_s=60, elapsed_s=60) == 0
    assert rhythm.long_poll


def test_unfinished_answers_that_come_at_once_show_that_the_coordinator_does_not_wait() -> None:
    rhythm = PollRhythm()
    assert rhythm.pause_s(asked_wait_s=60, elapsed_s=0.01) == POLL_INTERVAL_S
    assert rhythm.pause_s(asked_wait_s=60, elapsed_s=0.01) == POLL_INTERVAL_S
    assert rhythm.wait_s(60) == 0


def test_one_quick_answer_of_a_coordinator_that_stops_does_not_count_against_it() -> None:
    rhythm = PollRhythm()
    assert rhythm.pause_s(asked_wait_s=60, elapsed_s=0.01) == POLL_INTERVAL_S
    assert rhythm.wait_s(60) == 60
    assert rhythm.pause_s(asked_wait_s=60, elapsed_s=60) == 0
    assert rhythm.pause_s(asked_wait_s=60, elapsed_s=0.01) == POLL_INTERVAL_S
    assert rhythm.wait_s(60) == 60


def test_what_was_learned_about_the_coordinator_is_kept() -> None:
    rhythm = PollRhythm()
    for _ in range(2):
        rhythm.pause_s(asked_wait_s=60, elapsed_s=0.01)
    assert rhythm.pause_s(asked_wait_s=0, elapsed_s=5) == POLL_INTERVAL_S
    assert rhythm.wait_s(60) == 0


def test_a_client_that_does_not_want_long_polls_asks_for_none() -> None:
    rhythm = PollRhythm(longest_wait_s=0)
    assert rhythm.wait_s(60) == 0
    assert rhythm.pause_s(asked_wait_s=0, elapsed_s=0.01) == POLL_INTERVAL_S


@given(st.lists(st.floats(min_value=0, max_value=70), min_size=1), st.integers(min_value=0, max_value=60))
def test_two_questions_are_never_closer_than_the_polling_interval(
    answer_times: list[float], longest_wait_s: int
) -> None:
    rhythm = PollRhythm(longest_wait_s)
    for elapsed_s in answer_times:
        asked = rhythm.wait_s(1000)
        assert elapsed_s + rhythm.pause_s(asked, elapsed_s) >= POLL_INTERVAL_S
