"""The store on SQLite: one file, one coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import msgspec

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.pairing import code_head
from compute_router.protocol.units import DurationMs, UnixMs, iso_from_unix_ms, unix_ms_from_iso
from compute_router.storage import queries, rows
from compute_router.storage.connection import DEFAULT_BUSY_TIMEOUT, open_connection
from compute_router.storage.file_lock import FileLock
from compute_router.storage.files_in_place import FilesInPlace
from compute_router.storage.interface import (
    ApiKey,
    ClaimRefusal,
    DayQuota,
    Evidence,
    IdempotencyKey,
    JobView,
    NewJob,
    Pairing,
    Replay,
    Store,
    StoredReceipt,
    UnfinishedJob,
    WorkerRecord,
)
from compute_router.storage.own_network import hold_to_network
from compute_router.storage.session import Session
from compute_router.storage.sqlite_money import SqliteMoney

_PAGE_JOBS: Final = 1_000
_ALIVE: Final = "alive_at_ms"


def open_sqlite_store(
    path: Path, busy_timeout: DurationMs = DEFAULT_BUSY_TIMEOUT, *, network: str | None = None
) -> SqliteStore:
    """Open or create the database at ``path`` and hold it alone until the store is closed.

    ``network`` is the CAIP-2 id of the chain that it must be of; None: of any. Symbolic links are followed
    first, so that two names of one file share one lock.

    Raises:
        DatabaseInUseError: another coordinator holds it.
        DatabaseTooNewError: a newer version wrote it.
        ConfigurationError: it is not ours or no database, of another chain, or it cannot be written.
    """
    database = path.resolve()
    if not database.parent.is_dir():
        raise ConfigurationError(
            f"{database.parent} is not a directory. Create it, or choose another database path."
        )
    lock = FileLock(database)
    try:
        session = Session(open_connection(database, busy_timeout), FilesInPlace(database).check)
        try:
            if network is not None:
                hold_to_network(session, database, network)
        except BaseException:
            session.close()
            raise
        return SqliteStore(session, lock)
    except BaseException:
        lock.release()
        raise


class SqliteStore(SqliteMoney, Store):
    """See :class:`~compute_router.storage.interface.Store`.

    Every call raises :class:`StorageUnavailableError` when the disk or the file fails. Constraint
    violations, such as a second job with one id, are mistakes of the caller and come as apsw raises them.
    """

    def __init__(self, session: Session, lock: FileLock) -> None:
        self._session = session
        self._lock = lock

    def transaction(self) -> AbstractContextManager[None]:
        return self._session

    def close(self) -> None:
        try:
            self._session.close()
        finally:
            self._lock.release()

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

    def trusted_pubkeys(self, user_id: str) -> tuple[str, ...]:
        return tuple(pubkey for (pubkey,) in self._session.rows(queries.TRUSTED_PUBKEYS, (user_id,)))

    def owner(self, user_id: str) -> str | None:
        token_hash: str | None = self._session.read(queries.OWNER, (user_id,))
        return token_hash

    def put_owner(self, user_id: str, token_hash: str, created_at: UnixMs) -> bool:
        return self._session.change(queries.PUT_OWNER, (user_id, token_hash, created_at))

    def create_pairing(self, user_id: str, code: str, created_at: UnixMs, expires_at: UnixMs) -> None:
        self._session.change(
            queries.CREATE_PAIRING,
            (user_id, code, iso_from_unix_ms(created_at), iso_from_unix_ms(expires_at), code_head(code)),
        )

    def open_codes(self, user_id: str, now: UnixMs) -> int:
        count: int = self._session.read(queries.OPEN_CODES, (user_id, iso_from_unix_ms(now)))
        return count

    def delete_dead_codes(self, before: UnixMs, limit: int) -> int:
        return self._session.change_many(queries.DELETE_DEAD_CODES, (iso_from_unix_ms(before), limit))

    def claim_pairing(
        self, code: str, provider_pubkey: str, now: UnixMs, *, signed: bool = False
    ) -> Pairing | ClaimRefusal:
        user_id = self._session.change_returning(
            queries.CLAIM_PAIRING, (code, provider_pubkey, now, iso_from_unix_ms(now), signed)
        )
        if user_id is None:
            return self._refuse_claim(code, now)
        paired_at, ever_signed = self._session.read(queries.PAIRED_AT, (user_id, provider_pubkey))
        return _pairing(user_id, provider_pubkey, paired_at, ever_signed)

    def revoke_pairing(self, user_id: str, provider_pubkey: str) -> bool:
        return self._session.change_many(queries.REVOKE_PAIRING, (user_id, provider_pubkey)) > 0

    def pairings(self, user_id: str) -> tuple[Pairing, ...]:
        found = self._session.rows(queries.PAIRINGS, (user_id,))
        return tuple(_pairing(user_id, *row) for row in found)

    def put_api_key(self, key: ApiKey) -> None:
        self._session.change(
            queries.PUT_API_KEY,
            (
                key.key_id,
                key.key_hash,
                key.name,
                key.scope.value,
                key.user_id,
                key.jobs_per_minute,
                key.jobs_at_once,
                key.jobs_per_day,
                key.created_at,
            ),
        )

    def revoke_api_key(self, key_id: str, now: UnixMs) -> bool:
        return self._session.change(queries.REVOKE_API_KEY, (key_id, now))

    def api_keys(self) -> tuple[ApiKey, ...]:
        return tuple(map(rows.api_key, self._session.rows(queries.ALL_API_KEYS)))

    def count_key_job(self, quota: DayQuota) -> bool:
        jobs = self._session.change_returning(queries.COUNT_KEY_JOB, (quota.key_id, quota.day, quota.jobs))
        if jobs == 1:
            self._session.change_many(queries.FORGET_KEY_DAYS, (quota.key_id, quota.day))
        return jobs is not None

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

    def note_alive(self, now: UnixMs) -> None:
        self._session.change(queries.PUT_STATE, (_ALIVE, now))

    def last_alive(self) -> UnixMs | None:
        at: int | None = self._session.read(queries.STATE, (_ALIVE,))
        return None if at is None else UnixMs(at)

    def delete_finished(self, before: UnixMs, limit: int) -> int:
        bindings = (iso_from_unix_ms(before), limit)
        self._session.change_many(queries.DELETE_RECEIPTS, bindings)
        return self._session.change_many(queries.DELETE_FINISHED, bindings)

    def delete_idempotency_keys(self, before: UnixMs, limit: int) -> int:
        return self._session.change_many(queries.DELETE_KEYS, (iso_from_unix_ms(before), limit))

    def _refuse_claim(self, code: str, now: UnixMs) -> ClaimRefusal:
        claimed = self._session.read(queries.PAIRING_CLAIMED, (code,))
        if claimed is None:
            self._session.change_many(queries.COUNT_WRONG_TRY, (code_head(code), iso_from_unix_ms(now)))
            return ClaimRefusal.INVALID_CODE
        return ClaimRefusal.ALREADY_CLAIMED if claimed else ClaimRefusal.EXPIRED

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


def _pairing(user_id: str, pubkey: str, paired_at: int, signed: int) -> Pairing:
    return Pairing(user_id=user_id, provider_pubkey=pubkey, paired_at=UnixMs(paired_at), signed=bool(signed))
