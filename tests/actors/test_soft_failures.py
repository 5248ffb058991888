"""A worker that merely has no room says nothing bad about a job, nor about itself."""

from __future__ import annotations

import pytest

from compute_router.actors.soft_failures import is_soft
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.messages import JobFailed, JobReject
from tests.actors.matching import Matching
from tests.actors.samples import LLM, a_job, busy, completion, failed, key, reject, started

A, B, C, D, E = (key(digit) for digit in "abcde")


@pytest.mark.parametrize("reason", ["busy", "Busy: 4 of 4 slots", " busy", "draining", "overloaded now"])
def test_a_reject_for_want_of_room_is_soft(reason: str) -> None:
    assert is_soft(JobReject("job", reason))


@pytest.mark.parametrize("reason", ["", "too hot", "not busy", "I am busy"])
def test_any_other_reject_is_not(reason: str) -> None:
    assert not is_soft(JobReject("job", reason))


@pytest.mark.parametrize(
    "code", ["busy", "draining", "model_unavailable", "model_unloaded", "ollama_unreachable"]
)
def test_a_failure_for_want_of_a_model_is_soft_if_it_may_be_tried_again(code: str) -> None:
    assert is_soft(JobFailed("job", 1, code, "", retryable=True))
    assert not is_soft(JobFailed("job", 1, code, "", retryable=False))
    assert not is_soft(JobFailed("job", 1, f"{code}!", "", retryable=True))


def test_soft_failures_are_not_counted() -> None:
    market = Matching()
    for worker_id, pubkey in enumerate((A, B, C, D), start=1):
        market.online(worker_id, pubkey)
    market.submit(a_job())
    for worker_id in (1, 2, 3):
        market.says(worker_id, busy("job"))
    assert [worker_id for _, worker_id in market.assignments()] == [1, 2, 3, 4]
    for attempt in (4, 5, 6):
        assert market.core.is_live("job")
        ((_, worker_id),) = market.assignments()[-1:]
        market.says(worker_id, failed("job", attempt))
        market.advance(market.policy.max_backoff)
    assert market.failure()["error"] == "attempts_exhausted"


def test_a_busy_worker_gets_no_job_for_a_moment_and_then_again() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job("one"), a_job("two"))
    market.says(1, busy("one"))
    market.advance(market.policy.busy_pause - 1)
    assert market.given_to(1) == ["one"]
    market.advance(1)
    assert market.given_to(1) == ["one", "one"]


def test_the_pause_of_a_busy_worker_holds_for_all_its_slots_and_lines() -> None:
    market = Matching()
    market.online(1, A, slots=4)
    market.submit(a_job("one"))
    market.says(1, busy("one"))
    market.submit(a_job("two", job_type=LLM), a_job("three"))
    assert market.given_to(1) == ["one"]
    market.advance(market.policy.busy_pause)
    assert sorted(market.given_to(1)) == ["one", "one", "three", "two"]


def test_other_jobs_of_a_busy_worker_go_on() -> None:
    market = Matching()
    market.online(1, A, slots=2)
    market.submit(a_job("one"), a_job("two"))
    market.says(1, busy("two"))
    market.says(1, completion("one"))
    assert market.status("one") is JobStatus.COMPLETED


def test_a_job_that_finds_everybody_busy_ends_with_its_window() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    end = market.now + market.policy.queue_window
    while market.now < end:
        assert market.core.is_live("job")
        if any(worker.busy for worker in market.core.workers):
            market.says(1, busy("job"))
        market.advance(100)
    market.says(1, busy("job"))
    result = market.failure()
    assert (result["error"], result["detail"]) == ("worker_busy", "busy")


def test_a_soft_failure_keeps_what_was_left_of_the_wait() -> None:
    market = Matching()
    market.advance(1)
    market.submit(a_job())
    market.advance(20_000)
    market.online(1, A)
    market.says(1, busy("job"))
    market.drains(1)
    market.advance(9_999)
    assert market.status() is JobStatus.PENDING
    market.advance(1)
    assert market.failure()["error"] == "worker_busy"


def test_the_time_that_a_job_ran_is_no_part_of_its_wait() -> None:
    """A model that is unloaded in the middle of a long answer is not the job's end."""
    market = Matching()
    market.online(1, A)
    market.submit(a_job(job_type=LLM))
    market.says(1, started("job"))
    market.advance(2 * market.policy.queue_window)
    market.online(2, B)
    market.says(1, failed("job", code="model_unloaded"))
    assert market.given_to(2) == ["job"]
    market.says(2, completion("job"))
    assert market.status() is JobStatus.COMPLETED


def test_a_job_is_not_offered_to_a_busy_worker_while_another_is_free() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.online(2, B)
    market.says(1, busy("job"))
    assert market.assignments() == [("job", 1), ("job", 2)]


def test_a_hard_reject_still_counts() -> None:
    market = Matching()
    for worker_id, pubkey in enumerate((A, B, C), start=1):
        market.online(worker_id, pubkey)
    market.submit(a_job())
    for worker_id in (1, 2, 3):
        market.says(worker_id, reject("job"))
    assert market.failure()["error"] == "attempts_exhausted"
