"""What every store must do with a job and its steps; part of the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobEvent, JobStatus, sources
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import JobView, Store, UnfinishedJob
from tests.storage.job_steps import (
    ALLOWED_STATUSES,
    AWKWARD_JSON,
    REFUSED_STATUSES,
    STEPS_OF_AN_ATTEMPT,
    bring_to,
    only_unfinished,
    requeue,
    snapshot,
    step,
    view,
)
from tests.storage.samples import (
    ALICE,
    DESKTOP,
    ERROR,
    LEASE_END,
    NOON,
    OUTPUT,
    PHONE,
    WINDOW_END,
    a_job,
    insert,
    later,
)


class JobContract:
    """A job waits, moves by allowed steps, and refuses the others."""

    constraint_error: ClassVar[type[Exception]]

    # A new job

    def test_a_new_job_waits_with_all_that_was_committed(self, store: Store) -> None:
        insert(
            store,
            a_job(
                "job-7",
                job_type=JobType.LLM_INFER,
                tier=Tier.FAST,
                privacy_class=PrivacyClass.PRIVATE,
                user_id="böb",
                model="llama3.2:3b",
                queue_window=DurationMs(5_000),
                lease=DurationMs(120_000),
                run_limit=DurationMs(600_000),
            ),
        )
        assert only_unfinished(store) == UnfinishedJob(
            job_id="job-7",
            job_type=JobType.LLM_INFER,
            tier=Tier.FAST,
            privacy_class=PrivacyClass.PRIVATE,
            user_id="böb",
            model="llama3.2:3b",
            status=JobStatus.PENDING,
            attempt=0,
            failures=0,
            worker_pubkey=None,
            lease_deadline=None,
            created_at=NOON,
            queue_deadline=WINDOW_END,
            queue_window=DurationMs(5_000),
            lease=DurationMs(120_000),
            run_limit=DurationMs(600_000),
            tried_pubkeys=(),
            last_failure=None,
        )

    def test_a_job_need_not_have_a_limit_for_its_run(self, store: Store) -> None:
        insert(store, a_job(run_limit=None))
        assert only_unfinished(store).run_limit is None

    def test_the_view_of_a_new_job_has_no_result_and_no_receipt(self, store: Store) -> None:
        insert(store, a_job())
        assert view(store) == JobView(
            job_id="job-1",
            user_id=ALICE,
            status=JobStatus.PENDING,
            result=None,
            created_at=NOON,
            completed_at=None,
        )

    def test_an_unknown_job_has_no_view(self, store: Store) -> None:
        assert store.job_view("nobody") is None
        assert store.completed_by("nobody") is None

    def test_a_second_job_with_the_same_id_is_refused(self, store: Store) -> None:
        insert(store, a_job())
        with pytest.raises(self.constraint_error), store.transaction():
            store.insert_job(a_job(user_id="mallory"))
        assert only_unfinished(store).user_id == ALICE

    @pytest.mark.parametrize("payload", AWKWARD_JSON)
    def test_a_payload_comes_back_byte_for_byte(self, store: Store, payload: bytes) -> None:
        insert(store, a_job(payload=payload))
        with store.transaction():
            assert store.assign_job("job-1", 1, DESKTOP, LEASE_END) == payload

    # Steps of a job

    def test_an_assigned_job_names_its_worker_attempt_and_lease(self, store: Store) -> None:
        bring_to(store, JobStatus.ASSIGNED)
        job = only_unfinished(store)
        assert (job.status, job.attempt) == (JobStatus.ASSIGNED, 1)
        assert (job.worker_pubkey, job.lease_deadline) == (DESKTOP, LEASE_END)

    def test_a_started_job_keeps_its_worker_and_lease(self, store: Store) -> None:
        bring_to(store, JobStatus.RUNNING)
        job = only_unfinished(store)
        assert (job.status, job.attempt) == (JobStatus.RUNNING, 1)
        assert (job.worker_pubkey, job.lease_deadline) == (DESKTOP, LEASE_END)

    def test_a_requeued_job_waits_again_without_worker_and_lease(self, store: Store) -> None:
        bring_to(store, JobStatus.ASSIGNED)
        with store.transaction():
            assert store.requeue_job(
                "job-1", 1, Failure.LEASE_EXPIRED, later(99), keep_tried=True, counts=True
            )
        job = only_unfinished(store)
        assert (job.status, job.attempt) == (JobStatus.PENDING, 1)
        assert (job.worker_pubkey, job.lease_deadline) == (None, None)
        assert (job.queue_deadline, job.last_failure) == (later(99), Failure.LEASE_EXPIRED)

    def test_workers_that_tried_are_remembered_in_order(self, store: Store) -> None:
        insert(store, a_job())
        with store.transaction():
            for attempt, pubkey in enumerate([PHONE, DESKTOP, PHONE], 1):
                store.assign_job("job-1", attempt, pubkey, LEASE_END)
                requeue(store, attempt)
        assert only_unfinished(store).tried_pubkeys == (PHONE, DESKTOP, PHONE)

    def test_a_worker_that_never_had_the_job_in_hands_is_not_held_to_have_tried(self, store: Store) -> None:
        bring_to(store, JobStatus.ASSIGNED)
        with store.transaction():
            assert requeue(store, reason=Failure.LEASE_EXPIRED, keep_tried=False)
        job = only_unfinished(store)
        assert job.tried_pubkeys == ()
        assert job.last_failure is Failure.LEASE_EXPIRED

    def test_only_attempts_that_count_are_counted_as_failures(self, store: Store) -> None:
        insert(store, a_job())
        with store.transaction():
            for attempt, counts in enumerate([True, False, True, False], 1):
                store.assign_job("job-1", attempt, DESKTOP, LEASE_END)
                requeue(store, attempt, counts=counts)
        job = only_unfinished(store)
        assert (job.attempt, job.failures) == (4, 2)

    @pytest.mark.parametrize("reason", Failure)
    def test_every_reason_for_a_requeue_can_be_kept(self, store: Store, reason: Failure) -> None:
        bring_to(store, JobStatus.RUNNING)
        with store.transaction():
            assert requeue(store, reason=reason)
        assert only_unfinished(store).last_failure is reason

    def test_a_completed_job_shows_its_output_and_is_no_longer_unfinished(self, store: Store) -> None:
        bring_to(store, JobStatus.RUNNING)
        with store.transaction():
            answer = store.complete_job("job-1", 1, DESKTOP, OUTPUT, later(5))
        assert answer == JobView(
            job_id="job-1",
            user_id=ALICE,
            status=JobStatus.COMPLETED,
            result=OUTPUT,
            created_at=NOON,
            completed_at=later(5),
        )
        assert view(store) == answer
        assert list(store.unfinished_jobs()) == []

    def test_a_completed_job_names_the_worker_and_attempt_that_did_it(self, store: Store) -> None:
        bring_to(store, JobStatus.COMPLETED, attempt=3)
        assert store.completed_by("job-1") == (DESKTOP, 3)

    @pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.COMPLETED])
    def test_a_job_that_is_not_completed_names_nobody(self, store: Store, status: JobStatus) -> None:
        bring_to(store, status)
        assert store.completed_by("job-1") is None

    def test_a_failed_job_shows_its_error_and_is_no_longer_unfinished(self, store: Store) -> None:
        bring_to(store, JobStatus.PENDING, attempt=0)
        with store.transaction():
            answer = store.fail_job("job-1", 0, ERROR, later(5))
        assert answer == JobView(
            job_id="job-1",
            user_id=ALICE,
            status=JobStatus.FAILED,
            result=ERROR,
            created_at=NOON,
            completed_at=later(5),
        )
        assert view(store) == answer
        assert list(store.unfinished_jobs()) == []

    @pytest.mark.parametrize("status", sources(JobEvent.CANCEL))
    def test_a_cancelled_job_shows_that_and_is_no_longer_unfinished(
        self, store: Store, status: JobStatus
    ) -> None:
        bring_to(store, status, attempt=2)
        with store.transaction():
            answer = store.cancel_job("job-1", ERROR, later(5))
        assert answer == JobView(
            job_id="job-1",
            user_id=ALICE,
            status=JobStatus.CANCELLED,
            result=ERROR,
            created_at=NOON,
            completed_at=later(5),
        )
        assert view(store) == answer
        assert list(store.unfinished_jobs()) == []

    def test_of_a_completion_and_a_cancel_the_first_wins(self, store: Store) -> None:
        bring_to(store, JobStatus.RUNNING)
        with store.transaction():
            assert store.complete_job("job-1", 1, DESKTOP, OUTPUT, later(5)) is not None
            assert store.cancel_job("job-1", ERROR, later(6)) is None
        assert view(store).result == OUTPUT

    @pytest.mark.parametrize("output", AWKWARD_JSON)
    def test_an_output_comes_back_byte_for_byte(self, store: Store, output: bytes) -> None:
        bring_to(store, JobStatus.ASSIGNED)
        with store.transaction():
            answer = store.complete_job("job-1", 1, DESKTOP, output, later(5))
        assert answer is not None
        assert answer.result == output
        assert view(store).result == output

    # Refused steps

    @pytest.mark.parametrize(("event", "status"), ALLOWED_STATUSES)
    def test_every_step_of_the_state_table_is_possible(
        self, store: Store, event: JobEvent, status: JobStatus
    ) -> None:
        bring_to(store, status)
        assert step(store, event, attempt=2 if event is JobEvent.CLAIM else 1)

    @pytest.mark.parametrize(("event", "status"), REFUSED_STATUSES)
    @pytest.mark.parametrize("attempt", [1, 2])
    def test_a_step_from_a_wrong_status_changes_nothing(
        self, store: Store, event: JobEvent, status: JobStatus, attempt: int
    ) -> None:
        bring_to(store, status)
        before = snapshot(store)
        assert not step(store, event, attempt)
        assert snapshot(store) == before

    @pytest.mark.parametrize(("event", "status"), STEPS_OF_AN_ATTEMPT)
    @pytest.mark.parametrize("off_by", [-2, -1, 1, 2])
    def test_a_step_of_a_wrong_attempt_changes_nothing(
        self, store: Store, event: JobEvent, status: JobStatus, off_by: int
    ) -> None:
        bring_to(store, status, attempt=2)
        before = snapshot(store)
        right = 3 if event is JobEvent.CLAIM else 2
        assert not step(store, event, right + off_by)
        assert snapshot(store) == before

    def test_an_output_from_a_worker_that_does_not_hold_the_job_changes_nothing(self, store: Store) -> None:
        bring_to(store, JobStatus.RUNNING)
        before = snapshot(store)
        with store.transaction():
            assert store.complete_job("job-1", 1, PHONE, OUTPUT, later(5)) is None
        assert snapshot(store) == before

    @pytest.mark.parametrize("event", JobEvent)
    def test_a_step_of_an_unknown_job_changes_nothing(self, store: Store, event: JobEvent) -> None:
        insert(store, a_job("job-2"))
        before = snapshot(store)
        assert not step(store, event, 1)
        assert snapshot(store) == before
