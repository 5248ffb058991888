"""What every store must do with records of worker keys, bars and audits; a part of the contract."""

from __future__ import annotations

import msgspec

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import Store, WorkerRecord
from tests.storage.contract import OpenStore
from tests.storage.samples import ALICE, DESKTOP, ERROR, LEASE_END, NOON, OUTPUT, PHONE, a_job, insert, later

AUDITOR = "\x01audit"
WINDOW = DurationMs(60_000)
LEASE = DurationMs(20_000)


def a_record(pubkey: str = DESKTOP, **changes: object) -> WorkerRecord:
    """A record in which no two numbers are the same."""
    record = WorkerRecord(
        pubkey=pubkey,
        first_seen=NOON,
        last_seen=later(1),
        completed=2,
        failed=3,
        rejected=4,
        lost=5,
        bad_receipts=6,
        latency_sum=DurationMs(7),
        audits_agreed=8,
        audits_disagreed=9,
        good=1.9900000000000002,
        bad=0.1 + 0.2,
    )
    return msgspec.structs.replace(record, **changes)


def put(store: Store, *records: WorkerRecord) -> None:
    with store.transaction():
        for record in records:
            store.put_worker_record(record)


def complete(store: Store, job_id: str = "job-1") -> None:
    """A job of a seeker is committed, and completed by DESKTOP."""
    insert(store, a_job(job_id))
    with store.transaction():
        store.assign_job(job_id, 1, DESKTOP, LEASE_END)
        store.complete_job(job_id, 1, DESKTOP, OUTPUT, later(5))


def repeat(store: Store, audit_of: str = "job-1") -> bool:
    with store.transaction():
        return store.insert_audit("audit", audit_of, AUDITOR, later(6), WINDOW, LEASE)


class TrackContract:
    """Run for each store, as :class:`tests.storage.contract.StoreContract`."""

    def test_a_record_is_kept_to_the_last_digit_and_over_a_restart(self, open_store: OpenStore) -> None:
        store = open_store()
        put(store, a_record())
        store.close()
        store = open_store()
        assert store.worker_record(DESKTOP) == a_record()
        store.close()

    def test_a_key_without_a_record_has_none(self, store: Store) -> None:
        assert store.worker_record(DESKTOP) is None

    def test_a_newer_record_takes_the_place_of_the_earlier_one(self, store: Store) -> None:
        newer = a_record(completed=20, last_seen=later(9))
        put(store, a_record(), newer)
        assert store.worker_record(DESKTOP) == newer

    def test_records_are_listed_newest_key_first_up_to_a_number(self, store: Store) -> None:
        put(store, a_record(DESKTOP), a_record(PHONE))
        assert store.worker_records(5) == (a_record(PHONE), a_record(DESKTOP))
        assert store.worker_records(1) == (a_record(PHONE),)

    def test_a_barred_key_is_listed_with_the_reason_until_the_bar_is_lifted(self, store: Store) -> None:
        put(store, a_record())
        with store.transaction():
            assert store.bar_worker(DESKTOP, "it lied", later(3))
        barred = a_record(barred_at=later(3), barred_reason="it lied")
        assert store.worker_record(DESKTOP) == barred
        assert store.barred_workers() == (DESKTOP,)
        with store.transaction():
            assert store.unbar_worker(DESKTOP)
            assert not store.unbar_worker(DESKTOP)
        assert store.worker_record(DESKTOP) == a_record()
        assert store.barred_workers() == ()

    def test_a_key_without_a_record_can_be_barred(self, store: Store) -> None:
        with store.transaction():
            assert store.bar_worker(PHONE, "it lied", later(3))
        assert store.barred_workers() == (PHONE,)

    def test_the_first_bar_stands(self, store: Store) -> None:
        with store.transaction():
            store.bar_worker(PHONE, "it lied", later(3))
            assert not store.bar_worker(PHONE, "again", later(4))
        record = store.worker_record(PHONE)
        assert record is not None
        assert (record.barred_at, record.barred_reason) == (later(3), "it lied")

    def test_a_new_record_does_not_lift_a_bar(self, store: Store) -> None:
        with store.transaction():
            store.bar_worker(DESKTOP, "it lied", later(3))
        put(store, a_record())
        assert store.barred_workers() == (DESKTOP,)

    def test_an_audit_is_a_new_job_with_the_payload_of_the_completed_one(self, store: Store) -> None:
        complete(store)
        assert repeat(store)
        (job,) = store.unfinished_jobs()
        assert (job.job_id, job.user_id, job.status) == ("audit", AUDITOR, JobStatus.PENDING)
        assert (job.queue_window, job.lease, job.queue_deadline) == (WINDOW, LEASE, later(6) + WINDOW)
        with store.transaction():
            assert store.assign_job("audit", 1, PHONE, LEASE_END) == a_job().payload
            view = store.complete_job("audit", 1, PHONE, OUTPUT, later(7))
        assert view is not None
        assert view.user_id == AUDITOR
        seekers = store.job_view("job-1")
        assert seekers is not None
        assert seekers.user_id == ALICE

    def test_only_a_completed_job_can_be_audited(self, store: Store) -> None:
        insert(store, a_job())
        assert not repeat(store)
        assert not repeat(store, "unknown")
        assert store.job_view("audit") is None

    def test_unfinished_audits_can_be_ended_and_nothing_else_is(self, store: Store) -> None:
        complete(store)
        repeat(store)
        insert(store, a_job("waits"))
        with store.transaction():
            assert store.drop_audits(ERROR, later(8)) == 1
            assert store.drop_audits(ERROR, later(8)) == 0
        dropped = store.job_view("audit")
        assert dropped is not None
        assert (dropped.status, dropped.result, dropped.completed_at) == (JobStatus.FAILED, ERROR, later(8))
        assert [job.job_id for job in store.unfinished_jobs()] == ["waits"]
