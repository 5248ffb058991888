"""What every store must do with transactions and at opening; part of the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import ClaimRefusal, Replay, Store
from tests.storage.contract import OpenStore
from tests.storage.job_steps import HOUR, KEY, bring_to, only_unfinished, snapshot, view
from tests.storage.samples import (
    ALICE,
    DESKTOP,
    LEASE_END,
    NOON,
    OUTPUT,
    PHONE,
    a_job,
    a_receipt,
    insert,
    later,
)


class TransactionContract:
    """All of a transaction or nothing of it, also after opening again."""

    constraint_error: ClassVar[type[Exception]]

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
