"""A job that its owner wants no more, and the race of that wish with the job's end."""

from __future__ import annotations

import pytest

from compute_router.protocol.job_state import JobStatus
from tests.actors.matching import Matching
from tests.actors.samples import OUTPUT, a_job, busy, completion, failed, key, reject, started

A, B = key("a"), key("b")


def with_a_running_job(*, proven: bool = True, prompt_store: bool = True) -> Matching:
    market = Matching(prompt_store=prompt_store)
    market.online(1, A, proven=proven)
    market.submit(a_job())
    market.store_answers()
    return market


def test_a_waiting_job_is_cancelled() -> None:
    market = Matching()
    market.submit(a_job())
    assert market.cancel()
    assert market.status() is JobStatus.CANCELLED
    assert [view.status for view in market.published] == [JobStatus.CANCELLED]
    market.online(1, A)
    assert market.given_to(1) == []


def test_a_cancel_is_published_only_when_it_is_stored() -> None:
    market = Matching(prompt_store=False)
    market.submit(a_job())
    assert market.cancel()
    assert market.published == []
    market.store_answers()
    assert [view.status for view in market.published] == [JobStatus.CANCELLED]


def test_a_running_job_is_cancelled_and_its_worker_told() -> None:
    market = with_a_running_job()
    market.says(1, started("job"))
    assert market.cancel()
    assert market.cancels(1) == [("job", 1)]
    assert market.status() is JobStatus.CANCELLED


def test_a_job_whose_assignment_is_still_being_stored_never_goes_out() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    assert market.cancel()
    market.store_answers()
    assert market.assignments() == []
    assert market.cancels(1) == []
    assert market.status() is JobStatus.CANCELLED


def test_a_job_in_backoff_is_cancelled() -> None:
    market = with_a_running_job()
    market.says(1, reject("job"))
    assert market.cancel()
    market.advance(market.policy.max_backoff)
    assert market.assignments() == [("job", 1)]
    assert market.status() is JobStatus.CANCELLED


def test_a_job_whose_worker_is_away_is_cancelled() -> None:
    market = with_a_running_job()
    market.offline(1)
    assert market.cancel()
    market.online(2, A, held=(("job", 1),))
    assert market.cancels(2) == [("job", 1)]
    market.says(2, completion("job", attempt=1))
    assert market.acks(2) == [("job", "stale")]


@pytest.mark.parametrize("job_id", ["job", "unknown"])
def test_a_second_cancel_and_one_of_an_unknown_job_find_nothing(job_id: str) -> None:
    market = Matching()
    market.submit(a_job())
    market.cancel("job")
    assert not market.cancel(job_id)


def test_a_finished_job_cannot_be_cancelled() -> None:
    market = with_a_running_job()
    market.says(1, completion("job"))
    assert not market.cancel()
    assert market.status() is JobStatus.COMPLETED


# Races


def test_a_completion_that_comes_first_wins_however_slow_the_store_is() -> None:
    market = with_a_running_job(prompt_store=False)
    market.says(1, completion("job", attempt=1))
    assert market.cancel(), "whoever asks will hear of the end that is being stored"
    assert market.cancel()
    assert market.cancels(1) == []
    market.store_answers()
    assert market.acks(1) == [("job", "accepted")]
    assert [(view.status, view.result) for view in market.published] == [(JobStatus.COMPLETED, OUTPUT)]


@pytest.mark.parametrize("proven", [True, False])
def test_a_cancel_that_comes_first_wins_however_slow_the_store_is(proven: bool) -> None:
    market = with_a_running_job(prompt_store=False, proven=proven)
    assert market.cancel()
    market.says(1, completion("job", attempt=1))
    market.says(1, completion("job", attempt=1))
    market.store_answers()
    assert market.acks(1) == [("job", "stale"), ("job", "stale")]
    assert [view.status for view in market.published] == [JobStatus.CANCELLED]


def test_a_cancel_during_the_check_of_a_result_that_is_not_believed_ends_the_job() -> None:
    market = with_a_running_job(prompt_store=False)
    market.online(2, B)
    market.says(1, completion("job", output_hash="0" * 64))
    assert market.cancel()
    market.store_answers()
    assert market.acks(1) == [("job", "rejected")]
    assert market.assignments() == [("job", 1)]
    assert [view.status for view in market.published] == [JobStatus.CANCELLED]


def test_a_cancel_that_was_not_stored_before_a_crash_was_not_announced_and_leaves_the_job() -> None:
    market = with_a_running_job(prompt_store=False)
    market.cancel()
    market.restart()
    assert market.published == []
    market.online(2, A, held=(("job", 1),))
    market.says(2, completion("job", attempt=1))
    market.store_answers()
    assert market.status() is JobStatus.COMPLETED


@pytest.mark.parametrize("frame", [started("job"), failed("job"), reject("job", 1), busy("job", 1)])
def test_what_a_worker_says_after_the_cancel_is_stale(frame: object) -> None:
    market = with_a_running_job()
    market.cancel()
    market.says(1, frame)  # type: ignore[arg-type]
    assert market.acks(1) == [("job", "stale")]
    assert market.status() is JobStatus.CANCELLED


# The slot


def test_the_slot_of_a_proven_worker_is_free_at_once() -> None:
    market = with_a_running_job()
    market.submit(a_job("next"))
    market.cancel()
    assert market.given_to(1) == ["job", "next"]


@pytest.mark.parametrize(
    "answer", [completion("job"), reject("job"), failed("job"), completion("job", output=b'{"error":"x"}')]
)
def test_the_slot_of_another_worker_is_free_when_it_answers(answer: object) -> None:
    market = with_a_running_job(proven=False)
    market.submit(a_job("next"))
    market.cancel()
    assert market.given_to(1) == ["job"], "it does not know of cancels and still works on the job"
    market.says(1, started("job"))
    assert market.given_to(1) == ["job"]
    market.says(1, answer)  # type: ignore[arg-type]
    assert market.given_to(1) == ["job", "next"]


def test_the_slot_of_another_worker_is_free_at_the_latest_when_the_lease_would_have_ended() -> None:
    market = with_a_running_job(proven=False)
    market.submit(a_job("next"))
    market.cancel()
    market.advance(market.policy.task_lease - 1)
    assert market.given_to(1) == ["job"]
    market.advance(1)
    assert market.given_to(1) == ["job", "next"]


def test_only_the_worker_that_held_the_job_frees_its_slot_by_answering() -> None:
    market = with_a_running_job(proven=False)
    market.online(2, B)
    market.submit(a_job("other"), a_job("next"))
    market.cancel("job")
    market.says(2, completion("job"))
    assert market.given_to(1) == ["job"]


def test_a_slot_that_waits_for_an_answer_is_forgotten_with_its_connection() -> None:
    market = with_a_running_job(proven=False)
    market.cancel()
    market.offline(1)
    market.advance(market.policy.task_lease)
    assert market.timers == {}


def test_a_worker_that_registers_again_keeps_the_slot_that_waits_for_an_answer() -> None:
    market = with_a_running_job(proven=False)
    market.cancel()
    market.online(1, A, proven=False)
    market.submit(a_job("next"))
    assert market.given_to(1) == ["job"]
    market.advance(market.policy.task_lease)
    assert market.given_to(1) == ["job", "next"]
