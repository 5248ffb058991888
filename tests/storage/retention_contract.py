"""What every store must forget, and what it says of outages; part of the contract."""

from __future__ import annotations

import pytest

from compute_router.protocol.job_state import FINAL, UNFINISHED, JobStatus
from compute_router.storage.interface import IdempotencyKey, Replay, Store
from tests.storage.job_steps import (
    HOUR,
    KEY,
    bring_to,
    keep_key_of_deleted_job,
    move_to,
    only_unfinished,
    view,
)
from tests.storage.samples import ALICE, ERROR, NOON, a_job, a_receipt, insert, later


class RetentionContract:
    """Ended jobs go when they are old; outages are remembered."""

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
