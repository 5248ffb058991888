"""The part of the SQLite store that knows about jobs and their receipts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.units import UnixMs, iso_from_unix_ms, unix_ms_from_iso
from compute_router.storage import job_queries as queries
from compute_router.storage import rows
from compute_router.storage.jobs import (
    IdempotencyKey,
    JobsStore,
    JobView,
    NewJob,
    Replay,
    StoredReceipt,
    UnfinishedJob,
)
from compute_router.storage.session import Session
from compute_router.storage.sqlite_money import SqliteMoney

_PAGE_JOBS: Final = 1_000


class SqliteJobs(SqliteMoney, JobsStore):
    """See :class:`~compute_router.storage.jobs.JobsStore`. Jobs are shown with their payments."""

    _session: Session

    def insert_job(
        self, job: NewJob, key: IdempotencyKey | None = None, *, paid: bool = False
    ) -> Replay | None:
        if key is None:
            self._insert_job(job, None, None, paid)
        elif not self._insert_job(job, key.key, key.request_hash, paid):
            return self.find_replay(job.user_id, key)
        return None

    def find_replay(self, user_id: str, key: IdempotencyKey) -> Replay | None:
        row = self._session.read(queries.REPLAY, (user_id, key.key, key.request_hash))
        return None if row is None else Replay(row[0], bool(row[1]))

    def _insert_job(self, job: NewJob, key: str | None, request_hash: str | None, paid: bool) -> bool:
        return self._session.change(
            queries.INSERT_JOB,
            (
                job.job_id,
                job.job_type.value,
                job.tier.value,
                job.privacy_class.value,
                job.user_id,
                job.payload,
                job.model,
                iso_from_unix_ms(job.created_at),
                job.queue_deadline,
                job.queue_window,
                job.lease,
                job.run_limit,
                None if job.recipients is None else rows.pubkeys_json(job.recipients),
                key,
                request_hash,
                paid,
            ),
        )

    def assign_job(
        self, job_id: str, attempt: int, worker_pubkey: str, lease_deadline: UnixMs
    ) -> bytes | None:
        payload: bytes | None = self._session.change_returning(
            queries.ASSIGN_JOB, (job_id, attempt, worker_pubkey, lease_deadline)
        )
        return payload

    def start_job(self, job_id: str, attempt: int) -> bool:
        return self._session.change(queries.START_JOB, (job_id, attempt))

    def requeue_job(
        self,
        job_id: str,
        attempt: int,
        reason: Failure,
        queue_deadline: UnixMs,
        *,
        keep_tried: bool,
        counts: bool,
    ) -> bool:
        return self._session.change(
            queries.REQUEUE_JOB, (job_id, attempt, reason.value, queue_deadline, keep_tried, counts)
        )

    def complete_job(
        self, job_id: str, attempt: int, worker_pubkey: str, result: bytes, completed_at: UnixMs
    ) -> JobView | None:
        committed = self._session.change_returning_row(
            queries.COMPLETE_JOB, (job_id, attempt, worker_pubkey, result, iso_from_unix_ms(completed_at))
        )
        return self._ended(job_id, JobStatus.COMPLETED, result, committed, completed_at)

    def fail_job(self, job_id: str, attempt: int, result: bytes, completed_at: UnixMs) -> JobView | None:
        committed = self._session.change_returning_row(
            queries.FAIL_JOB, (job_id, attempt, result, iso_from_unix_ms(completed_at))
        )
        return self._ended(job_id, JobStatus.FAILED, result, committed, completed_at)

    def cancel_job(self, job_id: str, result: bytes, completed_at: UnixMs) -> JobView | None:
        committed = self._session.change_returning_row(
            queries.CANCEL_JOB, (job_id, result, iso_from_unix_ms(completed_at))
        )
        return self._ended(job_id, JobStatus.CANCELLED, result, committed, completed_at)

    def job_view(self, job_id: str) -> JobView | None:
        row = self._session.read(queries.JOB_VIEW, (job_id,))
        if row is None:
            return None
        view = rows.job_view(job_id, row)
        return self._with_payment(view) if row[-1] else view

    def completed_by(self, job_id: str) -> tuple[str, int] | None:
        row: tuple[str, int] | None = self._session.read(queries.COMPLETED_BY, (job_id,))
        return row

    def job_payload(self, job_id: str) -> bytes | None:
        payload: bytes | None = self._session.read(queries.JOB_PAYLOAD, (job_id,))
        return payload

    def put_receipt(self, job_id: str, receipt: StoredReceipt, created_at: UnixMs) -> bool:
        return self._session.change(
            queries.PUT_RECEIPT,
            (
                job_id,
                receipt.provider_pubkey,
                receipt.receipt_json,
                receipt.signature,
                receipt.verified,
                iso_from_unix_ms(created_at),
                created_at,
                receipt.payment_ref,
            ),
        )

    def unfinished_jobs(self) -> Iterator[UnfinishedJob]:
        # Their places first: the caller may change jobs while it goes through them.
        places = self._session.rows(queries.UNFINISHED_ROWIDS)
        for start in range(0, len(places), _PAGE_JOBS):
            page = self._session.rows_of_each(queries.UNFINISHED_JOB, places[start : start + _PAGE_JOBS])
            yield from map(rows.unfinished_job, page)

    def delete_finished(self, before: UnixMs, limit: int) -> int:
        bindings = (iso_from_unix_ms(before), limit)
        self._session.change_many(queries.DELETE_RECEIPTS, bindings)
        return self._session.change_many(queries.DELETE_FINISHED, bindings)

    def delete_idempotency_keys(self, before: UnixMs, limit: int) -> int:
        return self._session.change_many(queries.DELETE_KEYS, (iso_from_unix_ms(before), limit))

    def _ended(
        self,
        job_id: str,
        status: JobStatus,
        result: bytes,
        committed: tuple[str, str, int] | None,
        completed_at: UnixMs,
    ) -> JobView | None:
        if committed is None:
            return None
        created_at, user_id, paid = committed
        view = JobView(
            job_id=job_id,
            user_id=user_id,
            status=status,
            result=result,
            created_at=unix_ms_from_iso(created_at),
            completed_at=completed_at,
        )
        return self._with_payment(view) if paid else view

    def _with_payment(self, view: JobView) -> JobView:
        payment = self.payment_of(view.job_id)
        return view if payment is None else msgspec.structs.replace(view, payment=payment.view())
