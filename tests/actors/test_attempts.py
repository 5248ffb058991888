"""What becomes of a job whose worker is lost, refuses, is silent, or fails; and of one nobody takes."""

from __future__ import annotations

import logging

import msgspec
import pytest

from compute_router.actors.messages.job_store import AssignmentRecorded
from compute_router.actors.messages.matcher import JobTimer
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.messages import JobAssign, JobComplete
from compute_router.protocol.receipts import sha256_hex
from tests.actors.matching import Matching
from tests.actors.samples import LLM, OUTPUT, TASK, a_job, chunk, completion, failed, key, reject, started

A, B, C, D = key("a"), key("b"), key("c"), key("d")


def test_a_result_completes_the_job_once_it_is_stored() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.store_answers()
    market.says(1, completion("job", attempt=1))
    assert market.acks(1) == []
    assert market.published == []
    market.store_answers()
    assert market.acks(1) == [("job", "accepted")]
    assert [(view.job_id, view.result) for view in market.published] == [("job", OUTPUT)]
    assert market.status() is JobStatus.COMPLETED
    assert not market.core.is_live("job")


def test_an_assignment_says_which_attempt_it_is_and_how_long_its_lease_lasts() -> None:
    market = Matching()
    market.online(1, A)
    job = a_job(job_type=LLM)
    market.submit(job)
    ((_, frame),) = market.frames
    assert isinstance(frame, JobAssign)
    assert (frame.attempt, frame.deadline_ms) == (1, market.policy.lease(LLM, None))
    assert bytes(frame.payload) == job.payload
    assert frame.policy is job.tier


def test_a_worker_that_says_it_started_makes_the_job_running() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.says(1, started("job"))
    assert market.status() is JobStatus.RUNNING
    market.says(1, started("job"))
    market.says(1, completion("job"))
    assert market.status() is JobStatus.COMPLETED


@pytest.mark.parametrize("sign", ["job_started", "job_chunk", "heartbeat"])
def test_every_sign_of_life_begins_the_lease_anew(sign: str) -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    for _ in range(5):
        market.advance(market.policy.task_lease - 1)
        match sign:
            case "job_started":
                market.says(1, started("job"))
            case "job_chunk":
                market.says(1, chunk("job"))
            case _:
                market.beats(1, ("job", 1))
    market.advance(market.policy.task_lease - 1)
    assert market.assignments() == [("job", 1)]
    market.advance(1)
    assert market.assignments() == [("job", 1), ("job", 1)]


def test_a_heartbeat_that_names_another_attempt_or_comes_from_another_worker_renews_nothing() -> None:
    market = Matching()
    market.online(1, A, slots=2)
    market.online(2, B, can=(LLM,))
    market.submit(a_job())
    market.advance(market.policy.task_lease - 1)
    market.beats(1, ("job", 2), ("unknown", 1))
    market.beats(2, ("job", 1))
    market.advance(1)
    assert market.cancels(1) == [("job", 1)]


def test_a_chunk_makes_the_job_running() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.says(1, chunk("job"))
    assert market.status() is JobStatus.RUNNING


def test_a_worker_whose_lease_ran_out_is_told_to_stop() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.advance(market.policy.task_lease)
    assert market.cancels(1) == [("job", 1)]


# Nobody comes


def test_a_public_job_that_nobody_takes_fails_when_its_window_is_over() -> None:
    market = Matching()
    market.submit(a_job())
    market.advance(market.policy.queue_window - 1)
    assert market.status() is JobStatus.PENDING
    market.advance(1)
    assert market.failure()["error"] == "no_eligible_worker"
    assert [view.job_id for view in market.published] == ["job"]


def test_a_private_job_whose_trusted_workers_left_fails_with_no_trusted_worker() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job("held", private=True), a_job("waits", private=True))
    market.offline(1)
    market.advance(market.policy.queue_window)
    assert market.failure("waits")["error"] == "no_trusted_worker"


def test_a_private_job_whose_trusted_worker_stayed_busy_fails_with_no_eligible_worker() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job("held", private=True, job_type=LLM), a_job("waits", private=True))
    market.advance(market.policy.queue_window)
    assert market.failure("waits")["error"] == "no_eligible_worker"


def test_a_job_that_was_tried_and_found_nobody_else_fails_with_the_reason_of_its_last_attempt() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.says(1, reject("job", reason="too hot"))
    market.offline(1)
    market.advance(market.policy.backoff(1) + market.policy.queue_window)
    result = market.failure()
    assert result["error"] == "worker_rejected"
    assert result["detail"] == "too hot"
    assert "last_reason" not in result


# Attempts that end without a result


def test_the_job_of_an_unproven_worker_that_was_lost_goes_to_another_at_once() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job())
    market.online(2, B)
    market.offline(1)
    assert market.assignments() == [("job", 1), ("job", 2)]
    assert market.tried() == (A,)


def test_a_job_whose_worker_was_lost_before_the_assignment_went_out_is_not_held_against_it() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.offline(1)
    market.store_answers()
    assert market.tried() == ()
    assert market.assignments() == []
    assert market.status() is JobStatus.PENDING


def test_a_rejected_job_goes_to_a_worker_that_has_not_tried_it_at_once() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.online(2, B)
    market.says(1, reject("job"))
    assert market.assignments() == [("job", 1), ("job", 2)]


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_job_goes_back_to_the_worker_that_failed_it_only_after_a_growing_wait(attempt: int) -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    for number in range(1, attempt):
        market.says(1, failed("job", number))
        market.advance(market.policy.backoff(number))
    market.says(1, failed("job", attempt))
    market.advance(500 * 2 ** (attempt - 1) - 1)
    assert len(market.assignments()) == attempt
    market.advance(1)
    assert len(market.assignments()) == attempt + 1


def test_a_worker_that_failed_a_job_gets_other_jobs_meanwhile() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job("one"), a_job("two"))
    market.says(1, failed("one"))
    assert market.given_to(1) == ["one", "two"]


def test_a_job_comes_back_when_its_lease_runs_out() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job())
    market.online(2, B)
    market.advance(market.policy.task_lease)
    assert market.assignments() == [("job", 1), ("job", 2)]


@pytest.mark.parametrize(("job_type", "lease"), [(TASK, 20_000), (LLM, 120_000)])
def test_the_lease_depends_on_the_type_of_the_job(job_type: object, lease: int) -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(job_type=LLM if job_type is LLM else TASK))
    market.advance(lease - 1)
    assert market.core.is_live("job")
    assert len(market.assignments()) == 1
    market.advance(1)
    assert len(market.assignments()) == 2


def test_an_unanswered_assignment_does_not_bar_its_worker() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job())
    market.advance(market.policy.task_lease)
    assert market.assignments() == [("job", 1), ("job", 1)]
    assert market.tried() == ()


def test_a_worker_that_started_and_fell_silent_counts_as_having_tried() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.says(1, started("job"))
    market.advance(market.policy.task_lease)
    assert market.tried() == (A,)


def test_three_attempts_are_all_a_job_gets() -> None:
    market = Matching()
    for worker_id, pubkey in enumerate((A, B, C, D), start=1):
        market.online(worker_id, pubkey)
    market.submit(a_job())
    for worker_id in (1, 2, 3):
        market.says(worker_id, failed("job", worker_id))
    assert len(market.assignments()) == 3
    result = market.failure()
    assert result["error"] == "attempts_exhausted"
    assert result["last_reason"] == "worker_error"
    assert result["detail"] == "crash: it broke"


def test_an_error_that_no_worker_could_avoid_ends_the_job_at_once() -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B)
    market.submit(a_job())
    market.says(1, failed("job", retryable=False))
    assert market.failure()["error"] == "worker_error"
    assert market.assignments() == [("job", 1)]


def test_a_failed_job_frees_its_worker_for_the_next() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job("one"), a_job("two"))
    market.says(1, failed("one", retryable=False))
    assert market.given_to(1) == ["one", "two"]


def test_a_requeued_job_goes_before_its_users_other_jobs() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job("one"), a_job("two"))
    market.offline(1)
    market.online(2, B)
    assert market.given_to(2) == ["one"]


def test_a_requeued_job_gets_a_whole_window() -> None:
    market = Matching()
    market.advance(1)
    market.submit(a_job())
    market.advance(market.policy.queue_window - 1)
    market.online(1, A, proven=False)
    market.offline(1)
    market.advance(market.policy.queue_window - 1)
    assert market.status() is JobStatus.PENDING
    market.advance(1)
    assert market.failure()["error"] == "worker_disconnected"


# Results that are not believed


def test_an_output_that_does_not_have_its_hash_is_a_failed_attempt() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.online(2, B)
    market.says(1, completion("job", output_hash="0" * 64))
    assert market.acks(1) == [("job", "rejected")]
    assert market.assignments() == [("job", 1), ("job", 2)]
    assert market.tried() == (A,)


def completion_about_another_job() -> JobComplete:
    receipt = msgspec.Raw(
        msgspec.json.encode(
            {
                "job_id": "other",
                "provider_pubkey": A,
                "output_hash": "0" * 64,
                "completed_at": "2026-02-09T12:00:05.000Z",
                "payment_ref": None,
            }
        )
    )
    return JobComplete("job", msgspec.Raw(OUTPUT), sha256_hex(OUTPUT), receipt, "c2ln")


def test_a_receipt_about_another_job_from_an_unproven_worker_is_refused_and_changes_nothing() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job())
    market.says(1, completion_about_another_job())
    assert market.errors(1) == ["RECEIPT_MISMATCH"]
    assert market.status() is JobStatus.ASSIGNED
    market.says(1, completion("job"))
    assert market.status() is JobStatus.COMPLETED


def test_a_receipt_about_another_job_from_a_proven_worker_ends_the_attempt() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.online(2, B)
    market.says(1, completion_about_another_job())
    assert market.acks(1) == [("job", "rejected")]
    assert market.assignments() == [("job", 1), ("job", 2)]
    assert [piece.reason for piece in market.store.evidence(A)] == ["receipt_job_mismatch"]


def test_an_error_reported_as_an_output_by_a_worker_from_elsewhere_is_a_failed_attempt() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job())
    market.online(2, B)
    market.says(1, completion("job", output=b'{"error":"model not found"}'))
    assert market.assignments() == [("job", 1), ("job", 2)]


# Too late, or not theirs


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize(
    "frame", [completion("job"), reject("job"), failed("job"), started("job"), chunk("job")]
)
def test_a_frame_about_a_job_that_another_worker_holds_changes_nothing(
    proven: bool, frame: JobComplete
) -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B, proven=proven)
    market.submit(a_job())
    holder = market.assignments()[0][1]
    other = 3 - holder
    market.says(other, frame)
    assert market.acks(other) == [("job", "stale")]
    assert market.status() is JobStatus.ASSIGNED


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("waits", [True, False], ids=["the job waits", "the job is in backoff"])
@pytest.mark.parametrize(
    "frame",
    [
        completion("job", attempt=1),
        completion("job"),
        reject("job", 1),
        failed("job"),
        started("job"),
        chunk("job"),
    ],
)
def test_a_frame_about_an_attempt_that_has_ended_is_stale(
    proven: bool, waits: bool, frame: JobComplete
) -> None:
    market = Matching()
    market.online(1, A, proven=proven)
    market.submit(a_job(), a_job("next"))
    if waits:
        market.advance(market.policy.task_lease)
    else:
        market.says(1, reject("job"))
    assert market.status() is JobStatus.PENDING
    market.says(1, frame)
    assert market.acks(1)[-1] == ("job", "stale")
    assert market.status() is JobStatus.PENDING


def test_a_result_of_an_earlier_attempt_does_not_count_for_the_present_one() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.advance(market.policy.task_lease)
    assert market.assignments() == [("job", 1), ("job", 1)]
    market.says(1, completion("job", attempt=1))
    assert market.acks(1) == [("job", "stale")]
    assert market.status() is JobStatus.ASSIGNED


def test_a_result_sent_twice_is_accepted_twice_and_stored_once() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.store_answers()
    market.says(1, completion("job", attempt=1))
    market.says(1, completion("job", attempt=1))
    market.store_answers()
    assert market.acks(1) == [("job", "accepted"), ("job", "accepted")]
    assert len(market.published) == 1


def test_a_result_for_an_unknown_job_is_an_error_frame() -> None:
    market = Matching()
    market.online(1, A)
    market.says(1, completion("nobody's"))
    assert market.errors(1) == ["UNKNOWN_JOB"]


def test_a_result_that_overtakes_the_durable_assignment_is_stale() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.says(1, completion("job"))
    market.store_answers()
    assert market.acks(1) == [("job", "stale")]
    assert market.assignments() == [("job", 1)]


def test_nothing_but_the_store_moves_a_job_whose_result_is_being_stored() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.store_answers()
    market.says(1, completion("job"))
    market.says(1, reject("job"))
    market.offline(1)
    market.advance(market.policy.llm_lease)
    assert market.core.is_live("job")
    market.store_answers()
    assert market.status() is JobStatus.COMPLETED


def test_a_timer_of_an_earlier_attempt_changes_nothing() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    _, stale = market.timers["job"]
    market.says(1, reject("job"))
    market.advance(market.policy.backoff(1))
    assert isinstance(stale, JobTimer)
    market.core.job_timer(stale, market.now)
    assert market.core.drain() == []
    market.check()


def test_a_job_that_the_store_has_in_another_state_is_dropped_and_said_so(
    expected_errors: list[logging.LogRecord],
) -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job(), a_job("next"))
    market.core.assignment_recorded(AssignmentRecorded("job", 1, None), market.now)
    assert not market.core.is_live("job")
    assert [job.worker_id for job in market.core.jobs] == [1]
    assert [record.getMessage() for record in expected_errors] == [
        "job job was not pending in the store; it is dropped here"
    ]
