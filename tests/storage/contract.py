"""What every store must do. An implementation runs all of it by subclassing; see ``test_contract.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import FINAL, UNFINISHED, JobEvent, JobStatus, sources
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import (
    ClaimRefusal,
    IdempotencyKey,
    JobView,
    Pairing,
    Replay,
    Store,
    UnfinishedJob,
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
    a_receipt,
    insert,
    later,
)

OpenStore = Callable[[], Store]
HOUR = 3_600_000

AWKWARD_JSON = [
    pytest.param(b'{"a": 1.0e5, "b": 0.10, "c": -0}', id="numbers that encoders rewrite"),
    pytest.param(rb'{"a":"\u00e9\ud83d\ude00\/"}', id="escapes that encoders drop"),
    pytest.param(b' {\n\t"b" : 1,\r\n "a":2 } ', id="whitespace and order of keys"),
    pytest.param('{"a":"é😀\u2028"}'.encode(), id="text outside ASCII"),
    pytest.param(b'{"a":1,"a":2}', id="a key that is there twice"),
    pytest.param(rb'{"a":"\u0000"}', id="an escaped zero"),
    pytest.param(b'"' + b"x" * 1_048_000 + b'"', id="a megabyte"),
    pytest.param(b"12345678901234567890123", id="a bare number beyond 64 bits"),
    pytest.param(b"null", id="null"),
]


KEY = IdempotencyKey("order-7", "a" * 64)


def named(key: str) -> IdempotencyKey:
    return IdempotencyKey(key, "a" * 64)


def keep_keys(store: Store, *names: str) -> None:
    """Commit a job for each name, under a key of the same name, a millisecond apart."""
    with store.transaction():
        for number, name in enumerate(names):
            assert store.insert_job(a_job(name, created_at=later(number)), named(name)) is None


def keep_key_of_deleted_job(store: Store) -> None:
    """Commit a job under KEY at NOON, end it and delete it."""
    with store.transaction():
        store.insert_job(a_job(), KEY)
        store.fail_job("job-1", 0, ERROR, later(5))
        assert store.delete_finished(later(6), 10) == 1


def bring_to(store: Store, status: JobStatus, *, attempt: int = 1) -> None:
    """Bring a new ``job-1`` to a status, at an attempt by DESKTOP (a pending one: after it)."""
    insert(store, a_job())
    move_to(store, status, attempt=attempt)


def move_to(store: Store, status: JobStatus, *, attempt: int = 1) -> None:
    """As :func:`bring_to`, with a ``job-1`` that is there."""
    if attempt == 0:
        assert status is JobStatus.PENDING
        return
    with store.transaction():
        for number in range(1, attempt + 1):
            assert store.assign_job("job-1", number, DESKTOP, LEASE_END) is not None
            if number < attempt or status is JobStatus.PENDING:
                assert store.requeue_job(
                    "job-1", number, Failure.WORKER_BUSY, WINDOW_END, keep_tried=False, counts=False
                )
        if status is JobStatus.RUNNING:
            assert store.start_job("job-1", attempt)
        elif status is JobStatus.COMPLETED:
            assert store.complete_job("job-1", attempt, DESKTOP, OUTPUT, later(5)) is not None
        elif status is JobStatus.FAILED:
            assert store.fail_job("job-1", attempt, ERROR, later(5)) is not None
        elif status is JobStatus.CANCELLED:
            assert store.cancel_job("job-1", ERROR, later(5)) is not None


def step(store: Store, event: JobEvent, attempt: int) -> bool:
    """Try to move ``job-1``; whether it moved."""
    with store.transaction():
        match event:
            case JobEvent.CLAIM:
                return store.assign_job("job-1", attempt, DESKTOP, LEASE_END) is not None
            case JobEvent.START:
                return store.start_job("job-1", attempt)
            case JobEvent.REQUEUE:
                return requeue(store, attempt)
            case JobEvent.COMPLETE:
                return store.complete_job("job-1", attempt, DESKTOP, OUTPUT, later(9)) is not None
            case JobEvent.FAIL:
                return store.fail_job("job-1", attempt, ERROR, later(9)) is not None
            case JobEvent.CANCEL:
                return store.cancel_job("job-1", ERROR, later(9)) is not None


ALLOWED_STATUSES = [(event, status) for event in JobEvent for status in sources(event)]
REFUSED_STATUSES = [
    (event, status) for event in JobEvent for status in JobStatus if status not in sources(event)
]
# A cancel is about the job, whatever attempt is under way.
STEPS_OF_AN_ATTEMPT = [(event, status) for event, status in ALLOWED_STATUSES if event is not JobEvent.CANCEL]


def requeue(
    store: Store,
    attempt: int = 1,
    reason: Failure = Failure.WORKER_ERROR,
    *,
    keep_tried: bool = True,
    counts: bool = True,
) -> bool:
    """End an attempt at ``job-1``; inside a transaction."""
    return store.requeue_job("job-1", attempt, reason, WINDOW_END, keep_tried=keep_tried, counts=counts)


def only_unfinished(store: Store) -> UnfinishedJob:
    (job,) = store.unfinished_jobs()
    return job


def view(store: Store, job_id: str = "job-1") -> JobView:
    found = store.job_view(job_id)
    assert found is not None
    return found


def snapshot(store: Store) -> object:
    return list(store.unfinished_jobs()), store.job_view("job-1"), store.completed_by("job-1")


class StoreContract:
    """Subclasses say how to open a store, and what it raises on a broken constraint."""

    constraint_error: ClassVar[type[Exception]]

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Opens one and the same database at every call."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Iterator[Store]:
        store = open_store()
        yield store
        store.close()

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

    # Unfinished jobs

    @pytest.mark.parametrize("recipients", [None, (PHONE,), (PHONE, DESKTOP)])
    def test_who_can_open_a_sealed_job_is_remembered(
        self, store: Store, recipients: tuple[str, ...] | None
    ) -> None:
        insert(store, a_job(privacy_class=PrivacyClass.PRIVATE, recipients=recipients))
        (job,) = store.unfinished_jobs()
        assert job.recipients == recipients

    def test_unfinished_jobs_come_in_the_order_of_commit(self, store: Store) -> None:
        names = ["zebra", "ant", "mule", "bee"]
        for number, name in enumerate(names):
            insert(store, a_job(name, created_at=later(-number)))
        with store.transaction():
            store.assign_job("mule", 1, DESKTOP, LEASE_END)
            store.assign_job("zebra", 1, PHONE, LEASE_END)
            store.start_job("zebra", 1)
        assert [job.job_id for job in store.unfinished_jobs()] == names

    def test_finished_jobs_are_not_among_the_unfinished(self, store: Store) -> None:
        insert(store, a_job("done"), a_job("open"), a_job("failed"))
        with store.transaction():
            store.assign_job("done", 1, DESKTOP, LEASE_END)
            store.complete_job("done", 1, DESKTOP, OUTPUT, later(1))
            store.fail_job("failed", 0, ERROR, later(1))
        assert [job.job_id for job in store.unfinished_jobs()] == ["open"]

    def test_a_job_that_changes_its_status_meanwhile_comes_once(self, store: Store) -> None:
        names = [f"job-{number}" for number in range(20)]
        insert(store, *(a_job(name) for name in names))
        seen = []
        with store.transaction():
            for job in store.unfinished_jobs():
                seen.append(job.job_id)
                store.assign_job(job.job_id, 1, DESKTOP, LEASE_END)
        assert seen == names

    def test_other_questions_may_be_asked_while_the_unfinished_are_gone_through(self, store: Store) -> None:
        insert(store, *(a_job(f"job-{number}") for number in range(3)))
        views = [store.job_view(job.job_id) for job in store.unfinished_jobs()]
        assert [view.job_id for view in views if view] == ["job-0", "job-1", "job-2"]

    def test_jobs_may_be_changed_while_the_unfinished_are_gone_through(self, store: Store) -> None:
        insert(store, *(a_job(f"job-{number}") for number in range(20)))
        seen = []
        with store.transaction():
            for job in store.unfinished_jobs():
                seen.append(job.job_id)
                store.fail_job(job.job_id, 0, ERROR, later(1))
        assert seen == [f"job-{number}" for number in range(20)]
        assert list(store.unfinished_jobs()) == []

    # Idempotency keys

    def test_the_first_use_of_a_key_keeps_the_job(self, store: Store) -> None:
        with store.transaction():
            assert store.insert_job(a_job(), KEY) is None
        assert only_unfinished(store).job_id == "job-1"

    def test_a_used_key_is_found_and_nothing_is_kept(self, store: Store) -> None:
        with store.transaction():
            assert store.find_replay(ALICE, KEY) is None
            store.insert_job(a_job("job-1"), KEY)
            assert store.find_replay(ALICE, KEY) == Replay("job-1", same_request=True)
            assert store.find_replay(ALICE, IdempotencyKey(KEY.key, "b" * 64)) == Replay(
                "job-1", same_request=False
            )
            assert store.find_replay("somebody else", KEY) is None
            assert store.insert_job(a_job("job-2"), named("another")) is None

    def test_the_same_request_again_is_answered_with_the_first_job_and_keeps_nothing(
        self, store: Store
    ) -> None:
        with store.transaction():
            store.insert_job(a_job(), KEY)
        with store.transaction():
            assert store.insert_job(a_job("job-2"), KEY) == Replay("job-1", same_request=True)
        assert [job.job_id for job in store.unfinished_jobs()] == ["job-1"]

    def test_another_request_with_the_same_key_is_told_apart_and_keeps_nothing(self, store: Store) -> None:
        with store.transaction():
            store.insert_job(a_job(), KEY)
            other = IdempotencyKey(KEY.key, "b" * 64)
            assert store.insert_job(a_job("job-2"), other) == Replay("job-1", same_request=False)
            assert store.insert_job(a_job("job-3"), KEY) == Replay("job-1", same_request=True)
        assert [job.job_id for job in store.unfinished_jobs()] == ["job-1"]

    def test_duplicates_in_one_transaction_are_one_job(self, store: Store) -> None:
        with store.transaction():
            answers = [store.insert_job(a_job(f"job-{number}"), KEY) for number in range(3)]
        assert answers == [None, Replay("job-0", same_request=True), Replay("job-0", same_request=True)]
        assert [job.job_id for job in store.unfinished_jobs()] == ["job-0"]

    def test_a_key_is_of_one_user_only(self, store: Store) -> None:
        with store.transaction():
            assert store.insert_job(a_job("job-1", user_id=ALICE), KEY) is None
            assert store.insert_job(a_job("job-2", user_id="bob"), KEY) is None

    @pytest.mark.parametrize("status", JobStatus)
    def test_a_key_stands_for_its_job_whatever_became_of_it(self, store: Store, status: JobStatus) -> None:
        with store.transaction():
            store.insert_job(a_job(), KEY)
        move_to(store, status)
        with store.transaction():
            assert store.insert_job(a_job("job-2"), KEY) == Replay("job-1", same_request=True)

    def test_a_key_whose_job_was_undone_is_free(self, store: Store) -> None:
        def keep_and_fail() -> None:
            with store.transaction():
                store.insert_job(a_job(), KEY)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            keep_and_fail()
        with store.transaction():
            assert store.insert_job(a_job(), KEY) is None

    def test_a_key_whose_job_was_refused_is_free(self, store: Store) -> None:
        insert(store, a_job())
        with store.transaction():
            with pytest.raises(self.constraint_error):
                store.insert_job(a_job(), KEY)
            assert store.insert_job(a_job("job-2"), KEY) is None
        assert [job.job_id for job in store.unfinished_jobs()] == ["job-1", "job-2"]

    def test_old_keys_are_forgotten_and_their_jobs_are_not(self, store: Store) -> None:
        keep_keys(store, "old", "new")
        with store.transaction():
            assert store.delete_idempotency_keys(later(1), 10) == 1
            assert store.insert_job(a_job("again"), named("old")) is None
            assert store.insert_job(a_job("never"), named("new")) == Replay("new", same_request=True)
        assert view(store, "old").status is JobStatus.PENDING

    def test_keys_are_forgotten_oldest_first_as_many_as_asked_for(self, store: Store) -> None:
        keep_keys(store, *(f"job-{number}" for number in range(5)))
        counts = []
        with store.transaction():
            for _ in range(3):
                counts.append(store.delete_idempotency_keys(later(4), 3))
            assert store.insert_job(a_job("never"), named("job-4")) == Replay("job-4", same_request=True)
        assert counts == [3, 1, 0]

    # Retention

    def test_jobs_that_ended_before_a_time_are_deleted_with_their_receipt(self, store: Store) -> None:
        with store.transaction():
            store.insert_job(a_job(), KEY)
        move_to(store, JobStatus.COMPLETED)
        with store.transaction():
            store.put_receipt("job-1", a_receipt(), later(5))
        with store.transaction():
            assert store.delete_finished(later(6), 10) == 1
        assert store.job_view("job-1") is None
        insert(store, a_job())
        assert view(store).receipt is None

    def test_a_key_whose_job_was_deleted_is_free_for_any_request(self, store: Store) -> None:
        keep_key_of_deleted_job(store)
        other = IdempotencyKey(KEY.key, "b" * 64)
        with store.transaction():
            assert store.find_replay(ALICE, KEY) is None
            assert store.insert_job(a_job("job-2"), other) is None
            assert store.insert_job(a_job("job-3"), other) == Replay("job-2", same_request=True)
            assert store.find_replay(ALICE, KEY) == Replay("job-2", same_request=False)

    def test_a_key_whose_job_was_deleted_ages_from_its_new_use(self, store: Store) -> None:
        keep_key_of_deleted_job(store)
        with store.transaction():
            assert store.insert_job(a_job("job-2", created_at=later(20)), KEY) is None
            assert store.delete_idempotency_keys(later(20), 10) == 0
            assert store.delete_idempotency_keys(later(21), 10) == 1

    def test_a_key_goes_with_its_job(self, store: Store) -> None:
        keep_key_of_deleted_job(store)
        with store.transaction():
            assert store.delete_idempotency_keys(later(1), 10) == 0

    @pytest.mark.parametrize("status", [status for status in JobStatus if status in FINAL])
    def test_every_kind_of_end_counts_from_its_own_time(self, store: Store, status: JobStatus) -> None:
        bring_to(store, status)
        with store.transaction():
            assert store.delete_finished(later(5), 10) == 0
            assert store.delete_finished(later(6), 10) == 1
        assert store.job_view("job-1") is None

    @pytest.mark.parametrize("status", [status for status in JobStatus if status in UNFINISHED])
    def test_unfinished_jobs_are_never_deleted(self, store: Store, status: JobStatus) -> None:
        bring_to(store, status)
        with store.transaction():
            assert store.delete_finished(later(10 * HOUR), 10) == 0
        assert only_unfinished(store).status is status

    def test_jobs_are_deleted_in_the_order_of_their_end_as_many_as_asked_for(self, store: Store) -> None:
        for number, end in enumerate([3, 1, 4, 2, 5]):
            insert(store, a_job(f"ended-{end}", created_at=later(-number)))
            with store.transaction():
                store.fail_job(f"ended-{end}", 0, ERROR, later(end))
        with store.transaction():
            assert store.delete_finished(later(5), 3) == 3
        assert [end for end in range(1, 6) if store.job_view(f"ended-{end}")] == [4, 5]
        with store.transaction():
            assert store.delete_finished(later(5), 3) == 1
            assert store.delete_finished(later(5), 3) == 0
        assert view(store, "ended-5").status is JobStatus.FAILED

    # Outages

    def test_a_new_store_was_never_alive(self, store: Store) -> None:
        assert store.last_alive() is None

    def test_the_newest_note_of_being_alive_is_kept_even_if_the_clock_went_back(self, store: Store) -> None:
        for at in (NOON, later(10), later(-HOUR)):
            with store.transaction():
                store.note_alive(at)
        assert store.last_alive() == later(-HOUR)

    # Receipts

    def test_a_receipt_is_part_of_the_view(self, store: Store) -> None:
        bring_to(store, JobStatus.COMPLETED)
        receipt = a_receipt(receipt_json=b'{ "job_id":"job-1", "x":1.0e5 }', signature="YWJj+/==")
        with store.transaction():
            assert store.put_receipt("job-1", receipt, later(6))
        assert view(store).receipt == receipt

    @pytest.mark.parametrize("receipt_json", AWKWARD_JSON)
    def test_a_receipt_comes_back_byte_for_byte(self, store: Store, receipt_json: bytes) -> None:
        bring_to(store, JobStatus.COMPLETED)
        with store.transaction():
            store.put_receipt("job-1", a_receipt(receipt_json=receipt_json), later(6))
        assert view(store).receipt == a_receipt(receipt_json=receipt_json)

    def test_a_verified_receipt_takes_the_place_of_an_unverified_one(self, store: Store) -> None:
        bring_to(store, JobStatus.COMPLETED)
        stub, real = (
            a_receipt(verified=False, signature="c3R1Yg==", provider_pubkey=PHONE, receipt_json=b"{}"),
            a_receipt(),
        )
        with store.transaction():
            assert store.put_receipt("job-1", stub, later(6))
            assert store.put_receipt("job-1", real, later(7))
        assert view(store).receipt == real

    @pytest.mark.parametrize(
        ("first_verified", "second_verified"), [(True, True), (True, False), (False, False)]
    )
    def test_no_other_receipt_takes_the_place_of_the_first(
        self, store: Store, first_verified: bool, second_verified: bool
    ) -> None:
        bring_to(store, JobStatus.COMPLETED)
        first = a_receipt(verified=first_verified)
        with store.transaction():
            assert store.put_receipt("job-1", first, later(6))
            assert not store.put_receipt(
                "job-1", a_receipt(verified=second_verified, signature="b3RoZXI="), later(7)
            )
        assert view(store).receipt == first

    def test_a_receipt_of_an_unknown_job_is_refused(self, store: Store) -> None:
        with pytest.raises(self.constraint_error), store.transaction():
            store.put_receipt("nobody", a_receipt(), NOON)

    # Pairing

    def test_a_claimed_code_makes_the_worker_trusted(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            pairing = store.claim_pairing("CODE", PHONE, later(1))
        assert pairing == Pairing(user_id=ALICE, provider_pubkey=PHONE, paired_at=later(1))
        assert store.pairings(ALICE) == (pairing,)
        assert store.trusted_pubkeys(ALICE) == (PHONE,)

    def test_an_unclaimed_code_makes_nobody_trusted(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
        assert store.pairings(ALICE) == ()
        assert store.trusted_pubkeys(ALICE) == ()

    def test_trust_is_of_one_user_only(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            store.claim_pairing("CODE", PHONE, later(1))
        assert store.trusted_pubkeys("bob") == ()
        assert store.pairings("bob") == ()

    def test_an_unknown_code_is_refused(self, store: Store) -> None:
        with store.transaction():
            assert store.claim_pairing("CODE", PHONE, NOON) is ClaimRefusal.INVALID_CODE

    @pytest.mark.parametrize("second", [PHONE, DESKTOP])
    def test_a_code_works_once(self, store: Store, second: str) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            store.claim_pairing("CODE", PHONE, later(1))
            assert store.claim_pairing("CODE", second, later(2)) is ClaimRefusal.ALREADY_CLAIMED
        assert store.trusted_pubkeys(ALICE) == (PHONE,)

    def test_a_used_code_is_already_claimed_even_after_its_hour(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            store.claim_pairing("CODE", PHONE, later(1))
            assert store.claim_pairing("CODE", PHONE, later(HOUR + 1)) is ClaimRefusal.ALREADY_CLAIMED

    def test_a_code_is_good_until_the_last_millisecond(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            assert isinstance(store.claim_pairing("CODE", PHONE, later(HOUR - 1)), Pairing)

    @pytest.mark.parametrize("late_by", [0, 1, 10 * HOUR])
    def test_an_expired_code_is_refused_and_stays_unused(self, store: Store, late_by: int) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            assert store.claim_pairing("CODE", PHONE, later(HOUR + late_by)) is ClaimRefusal.EXPIRED
        assert store.trusted_pubkeys(ALICE) == ()

    def test_the_same_code_cannot_be_given_out_twice(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
        with pytest.raises(self.constraint_error), store.transaction():
            store.create_pairing("bob", "CODE", NOON, later(HOUR))

    def test_a_worker_paired_again_counts_once_since_the_first_time(self, store: Store) -> None:
        first = Pairing(user_id=ALICE, provider_pubkey=PHONE, paired_at=later(1))
        with store.transaction():
            store.create_pairing(ALICE, "ONE", NOON, later(HOUR))
            store.create_pairing(ALICE, "TWO", NOON, later(HOUR))
            assert store.claim_pairing("ONE", PHONE, later(1)) == first
            assert store.claim_pairing("TWO", PHONE, later(2)) == first
        assert store.pairings(ALICE) == (first,)
        assert store.trusted_pubkeys(ALICE) == (PHONE,)

    def test_pairings_come_oldest_first(self, store: Store) -> None:
        with store.transaction():
            for code in ("ONE", "TWO"):
                store.create_pairing(ALICE, code, NOON, later(HOUR))
            store.claim_pairing("TWO", PHONE, later(2))
            store.claim_pairing("ONE", DESKTOP, later(1))
        assert [pairing.provider_pubkey for pairing in store.pairings(ALICE)] == [DESKTOP, PHONE]

    # Transactions

    def test_an_exception_inside_undoes_the_whole_transaction(self, store: Store) -> None:
        bring_to(store, JobStatus.RUNNING)
        before = snapshot(store)

        def change_everything_and_fail() -> None:
            with store.transaction():
                store.insert_job(a_job("job-2"))
                store.complete_job("job-1", 1, DESKTOP, OUTPUT, later(5))
                store.put_receipt("job-1", a_receipt(), later(5))
                store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
                store.note_alive(NOON)
                store.delete_finished(later(6), 10)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            change_everything_and_fail()
        assert snapshot(store) == before
        assert store.job_view("job-2") is None
        assert store.last_alive() is None
        with store.transaction():
            assert store.claim_pairing("CODE", PHONE, NOON) is ClaimRefusal.INVALID_CODE

    def test_a_store_works_on_after_an_undone_transaction(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError), store.transaction():
            raise ZeroDivisionError
        insert(store, a_job())
        assert only_unfinished(store).job_id == "job-1"

    def test_changes_of_a_transaction_are_visible_inside_it(self, store: Store) -> None:
        with store.transaction():
            store.insert_job(a_job())
            assert view(store).status is JobStatus.PENDING

    def test_a_refused_constraint_can_be_caught_and_the_rest_is_kept(self, store: Store) -> None:
        insert(store, a_job())
        with store.transaction():
            store.insert_job(a_job("before"))
            with pytest.raises(self.constraint_error):
                store.insert_job(a_job())
            store.insert_job(a_job("after"))
        assert [job.job_id for job in store.unfinished_jobs()] == ["job-1", "before", "after"]

    def test_a_change_outside_a_transaction_is_a_mistake(self, store: Store) -> None:
        with pytest.raises(RuntimeError, match="transaction"):
            store.insert_job(a_job())
        with pytest.raises(RuntimeError, match="transaction"):
            store.assign_job("job-1", 1, DESKTOP, LEASE_END)
        assert store.job_view("job-1") is None

    def test_a_transaction_inside_a_transaction_is_a_mistake(self, store: Store) -> None:
        with store.transaction():
            store.insert_job(a_job())
            with pytest.raises(RuntimeError, match="already"), store.transaction():
                pass
            store.insert_job(a_job("job-2"))
        assert [job.job_id for job in store.unfinished_jobs()] == ["job-1", "job-2"]

    # Opening again

    def test_what_was_committed_is_there_after_opening_again(
        self, store: Store, open_store: OpenStore
    ) -> None:
        bring_to(store, JobStatus.COMPLETED, attempt=2)
        insert(store, a_job("waiting", queue_deadline=UnixMs(2**52)))
        with store.transaction():
            store.put_receipt("job-1", a_receipt(), later(6))
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            store.claim_pairing("CODE", PHONE, later(1))
            assert store.assign_job("waiting", 1, PHONE, LEASE_END) is not None
            store.insert_job(a_job("keyed"), KEY)
            store.note_alive(later(7))
        before = snapshot(store), store.pairings(ALICE)
        store.close()
        again = open_store()
        assert (snapshot(again), again.pairings(ALICE)) == before
        assert again.last_alive() == later(7)
        with again.transaction():
            assert again.insert_job(a_job("again"), KEY) == Replay("keyed", same_request=True)
        again.close()

    def test_closing_twice_is_harmless(self, store: Store) -> None:
        store.close()
        store.close()
