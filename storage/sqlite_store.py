"""The store on SQLite: one file, one coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import apsw

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.units import DurationMs, UnixMs, iso_from_unix_ms, unix_ms_from_iso
from compute_router.storage import queries, rows
from compute_router.storage.connection import DEFAULT_BUSY_TIMEOUT, open_connection
from compute_router.storage.file_lock import FileLock
from compute_router.storage.files_in_place import FilesInPlace
from compute_router.storage.interface import (
    ClaimRefusal,
    IdempotencyKey,
    JobView,
    NewJob,
    Pairing,
    Replay,
    Store,
    StoredReceipt,
    UnfinishedJob,
)
from compute_router.storage.session import Session

_PAGE_JOBS: Final = 1_000
_ALIVE: Final = "alive_at_ms"


def open_sqlite_store(path: Path, busy_timeout: DurationMs = DEFAULT_BUSY_TIMEOUT) -> SqliteStore:
    """Open or create the database at ``path`` and hold it alone until the store is closed.

    Symbolic links are followed first, so that two names of one file share one lock.

    Raises:
        DatabaseInUseError: another coordinator holds it.
        DatabaseTooNewError: a newer version wrote it.
        ConfigurationError: it is not ours or no database, or it cannot be written.
    """
    database = path.resolve()
    if not database.parent.is_dir():
        raise ConfigurationError(
            f"{database.parent} is not a directory. Create it, or choose another database path."
        )
    lock = FileLock(database)
    try:
        connection = open_connection(database, busy_timeout)
        return SqliteStore(Session(connection, FilesInPlace(database).check), lock)
    except BaseException:
        lock.release()
        raise


class SqliteStore(Store):
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

    def insert_job(self, job: NewJob, key: IdempotencyKey | None = None) -> Replay | None:
        if key is None:
            self._insert_job(job)
            return None
        if not self._insert_key(job, key):
            replay = self.find_replay(job.user_id, key)
            if replay is not None:
                return replay
            # The earlier job was deleted.
            self._session.change(queries.DELETE_KEY, (job.user_id, key.key))
            self._insert_key(job, key)
        try:
            self._insert_job(job)
        except apsw.ConstraintError:
            # The caller may go on with the transaction, and then the key would stand for another job.
            self._session.change(queries.DELETE_KEY, (job.user_id, key.key))
            raise
        return None

    def find_replay(self, user_id: str, key: IdempotencyKey) -> Replay | None:
        row = self._session.read(queries.REPLAY, (user_id, key.key, key.request_hash))
        return None if row is None else Replay(row[0], bool(row[1]))

    def _insert_key(self, job: NewJob, key: IdempotencyKey) -> bool:
        return self._session.change(
            queries.INSERT_KEY, (job.user_id, key.key, key.request_hash, job.job_id, job.created_at)
        )

    def _insert_job(self, job: NewJob) -> None:
        self._session.change(
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
        created_at = self._session.change_returning(
            queries.COMPLETE_JOB, (job_id, attempt, worker_pubkey, result, iso_from_unix_ms(completed_at))
        )
        return _ended(job_id, JobStatus.COMPLETED, result, created_at, completed_at)

    def fail_job(self, job_id: str, attempt: int, result: bytes, completed_at: UnixMs) -> JobView | None:
        created_at = self._session.change_returning(
            queries.FAIL_JOB, (job_id, attempt, result, iso_from_unix_ms(completed_at))
        )
        return _ended(job_id, JobStatus.FAILED, result, created_at, completed_at)

    def cancel_job(self, job_id: str, result: bytes, completed_at: UnixMs) -> JobView | None:
        created_at = self._session.change_returning(
            queries.CANCEL_JOB, (job_id, result, iso_from_unix_ms(completed_at))
        )
        return _ended(job_id, JobStatus.CANCELLED, result, created_at, completed_at)

    def job_view(self, job_id: str) -> JobView | None:
        row = self._session.read(queries.JOB_VIEW, (job_id,))
        return None if row is None else rows.job_view(job_id, row)

    def completed_by(self, job_id: str) -> tuple[str, int] | None:
        row: tuple[str, int] | None = self._session.read(queries.COMPLETED_BY, (job_id,))
        return row

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

    def create_pairing(self, user_id: str, code: str, created_at: UnixMs, expires_at: UnixMs) -> None:
        self._session.change(
            queries.CREATE_PAIRING,
            (user_id, code, iso_from_unix_ms(created_at), iso_from_unix_ms(expires_at)),
        )

    def claim_pairing(self, code: str, provider_pubkey: str, now: UnixMs) -> Pairing | ClaimRefusal:
        user_id = self._session.change_returning(
            queries.CLAIM_PAIRING, (code, provider_pubkey, now, iso_from_unix_ms(now))
        )
        if user_id is None:
            return self._claim_refusal(code)
        paired_at = self._session.read(queries.PAIRED_AT, (user_id, provider_pubkey))
        return Pairing(user_id=user_id, provider_pubkey=provider_pubkey, paired_at=UnixMs(paired_at))

    def pairings(self, user_id: str) -> tuple[Pairing, ...]:
        return tuple(
            Pairing(user_id=user_id, provider_pubkey=pubkey, paired_at=UnixMs(paired_at))
            for pubkey, paired_at in self._session.rows(queries.PAIRINGS, (user_id,))
        )

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
        return self._session.change_many(queries.DELETE_KEYS, (before, limit))

    def _claim_refusal(self, code: str) -> ClaimRefusal:
        claimed = self._session.read(queries.PAIRING_CLAIMED, (code,))
        if claimed is None:
            return ClaimRefusal.INVALID_CODE
        return ClaimRefusal.ALREADY_CLAIMED if claimed else ClaimRefusal.EXPIRED


def _ended(
    job_id: str, status: JobStatus, result: bytes, created_at: str | None, completed_at: UnixMs
) -> JobView | None:
    if created_at is None:
        return None
    return JobView(
        job_id=job_id,
        status=status,
        result=result,
        created_at=unix_ms_from_iso(created_at),
        completed_at=completed_at,
    )
