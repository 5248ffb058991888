"""The part of the SQLite store that knows about worker keys."""

from __future__ import annotations

from compute_router.protocol.units import DurationMs, UnixMs, iso_from_unix_ms
from compute_router.storage import rows
from compute_router.storage import worker_queries as queries
from compute_router.storage.session import Session
from compute_router.storage.workers import Evidence, WorkerRecord, WorkersStore


class SqliteWorkers(WorkersStore):
    """See :class:`~compute_router.storage.workers.WorkersStore`."""

    _session: Session

    def put_worker_record(self, record: WorkerRecord) -> None:
        self._session.change(
            queries.PUT_WORKER_RECORD,
            (
                record.pubkey,
                record.first_seen,
                record.last_seen,
                record.completed,
                record.failed,
                record.rejected,
                record.lost,
                record.bad_receipts,
                record.latency_sum,
                record.audits_agreed,
                record.audits_disagreed,
                record.good,
                record.bad,
            ),
        )

    def worker_record(self, pubkey: str) -> WorkerRecord | None:
        found = self._session.rows(queries.WORKER_RECORD, (pubkey,))
        return rows.worker_record(found[0]) if found else None

    def worker_records(self, limit: int) -> tuple[WorkerRecord, ...]:
        return tuple(map(rows.worker_record, self._session.rows(queries.NEWEST_WORKER_RECORDS, (limit,))))

    def bar_worker(self, pubkey: str, reason: str, now: UnixMs) -> bool:
        return self._session.change(queries.BAR_WORKER, (pubkey, reason, now))

    def unbar_worker(self, pubkey: str) -> bool:
        return self._session.change(queries.UNBAR_WORKER, (pubkey,))

    def barred_workers(self) -> tuple[str, ...]:
        return tuple(pubkey for (pubkey,) in self._session.rows(queries.BARRED_WORKERS))

    def insert_audit(
        self,
        job_id: str,
        audit_of: str,
        user_id: str,
        created_at: UnixMs,
        window: DurationMs,
        lease: DurationMs,
    ) -> bool:
        deadline = created_at + window
        return self._session.change(
            queries.INSERT_AUDIT,
            (job_id, audit_of, user_id, iso_from_unix_ms(created_at), deadline, window, lease),
        )

    def drop_audits(self, result: bytes, completed_at: UnixMs) -> int:
        return self._session.change_many(queries.DROP_AUDITS, (result, iso_from_unix_ms(completed_at)))

    def put_evidence(self, evidence: Evidence, most: int) -> bool:
        if self._session.read(queries.COUNT_EVIDENCE, (evidence.worker_pubkey,)) >= most:
            return False
        return self._session.change(
            queries.PUT_EVIDENCE,
            (
                evidence.job_id,
                evidence.attempt,
                evidence.worker_pubkey,
                evidence.reason,
                evidence.output_hash,
                evidence.receipt_json,
                evidence.signature,
                evidence.created_at,
            ),
        )

    def evidence(self, worker_pubkey: str) -> tuple[Evidence, ...]:
        found = self._session.rows(queries.EVIDENCE, (worker_pubkey,))
        return tuple(rows.evidence(worker_pubkey, row) for row in found)

    def delete_evidence(self, before: UnixMs, limit: int) -> int:
        return self._session.change_many(queries.DELETE_EVIDENCE, (before, limit))
