"""What every store must do with idempotency keys; part of the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.storage.interface import IdempotencyKey, Replay, Store
from tests.storage.job_steps import KEY, keep_keys, move_to, named, only_unfinished, view
from tests.storage.samples import ALICE, a_job, insert, later


class ReplayContract:
    """One key is one job."""

    constraint_error: ClassVar[type[Exception]]

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
