"""How many unfinished jobs there may be, decided before anything is stored."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from compute_router.actors.admission import Admission, Refusal
from compute_router.actors.policy import MatchingPolicy
from tests.actors.matching import Matching
from tests.actors.samples import a_job, completion, failed, key

A = key("a")
POLICY = MatchingPolicy(max_jobs_per_user=2, max_jobs=3)


def test_a_user_gets_as_many_places_as_one_may_have() -> None:
    admission = Admission(POLICY)
    assert [admission.reserve("alice") for _ in range(3)] == [None, None, Refusal.USER_QUEUE_FULL]
    assert admission.reserve("bob") is None


def test_all_together_get_as_many_places_as_there_are() -> None:
    admission = Admission(POLICY)
    assert [admission.reserve(user) for user in ("a", "b", "c")] == [None] * 3
    assert admission.reserve("d") is Refusal.QUEUE_FULL
    admission.leave("b")
    assert admission.reserve("d") is None


def test_a_user_with_too_many_jobs_is_told_that_rather_than_that_all_is_full() -> None:
    admission = Admission(POLICY)
    for user in ("alice", "alice", "bob"):
        admission.reserve(user)
    assert admission.reserve("alice") is Refusal.USER_QUEUE_FULL


def test_the_limit_of_an_api_key_counts_all_jobs_of_its_user() -> None:
    admission = Admission(MatchingPolicy(max_jobs_per_user=3, max_jobs=9))
    assert admission.reserve("alice") is None
    assert admission.reserve("alice", at_once=1) is Refusal.KEY_QUEUE_FULL
    assert admission.reserve("alice", at_once=2) is None
    assert admission.reserve("bob", at_once=1) is None
    assert admission.reserve("alice", at_once=9) is None
    assert admission.reserve("alice", at_once=9) is Refusal.USER_QUEUE_FULL


def test_jobs_of_an_earlier_run_are_counted_beyond_every_bound() -> None:
    admission = Admission(POLICY)
    for _ in range(10):
        admission.enter("alice")
    assert len(admission) == 10
    assert admission.reserve("bob") is Refusal.QUEUE_FULL


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_the_bounds_hold_in_every_history(history: list[tuple[str, bool]]) -> None:
    admission = Admission(POLICY)
    held: list[str] = []
    for user, comes in history:
        if comes and admission.reserve(user) is None:
            held.append(user)
        elif not comes and user in held:
            held.remove(user)
            admission.leave(user)
        assert len(admission) == len(held) <= POLICY.max_jobs
        assert all(held.count(each) <= POLICY.max_jobs_per_user for each in "abc")


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "window over", "refused"])
def test_every_end_of_a_job_gives_its_place_back(end: str) -> None:
    market = Matching(MatchingPolicy(max_jobs_per_user=1))
    if end not in ("window over", "refused"):
        market.online(1, A)
    market.submit(a_job(private=end == "refused"))
    match end:
        case "completed":
            market.says(1, completion("job"))
        case "failed":
            market.says(1, failed("job", retryable=False))
        case "cancelled":
            market.cancel()
        case "window over":
            market.advance(market.policy.queue_window)
    assert market.reserve("alice") is None


def test_a_place_is_held_from_the_reservation_to_the_end() -> None:
    market = Matching(MatchingPolicy(max_jobs_per_user=1))
    assert market.reserve("alice") is None
    assert market.reserve("alice") is Refusal.USER_QUEUE_FULL
    market.commit(a_job())
    assert market.reserve("alice") is Refusal.USER_QUEUE_FULL
    market.cancel()
    assert market.reserve("alice") is None
    market.give_back("alice")


def test_a_result_that_is_being_stored_still_holds_its_place() -> None:
    market = Matching(MatchingPolicy(max_jobs_per_user=1), prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.store_answers()
    market.says(1, completion("job"))
    assert market.reserve("alice") is Refusal.USER_QUEUE_FULL
    market.store_answers()
    assert market.reserve("alice") is None


def test_a_restart_counts_the_jobs_it_finds() -> None:
    market = Matching(MatchingPolicy(max_jobs_per_user=2))
    market.submit(a_job("one"), a_job("two"))
    market.restart()
    assert market.reserve("alice") is Refusal.USER_QUEUE_FULL
