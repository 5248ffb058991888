"""What a store means, in the plainest Python: the reference that random histories are compared with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import UNFINISHED, JobEvent, JobStatus, sources
from compute_router.protocol.jobs import Tier
from compute_router.protocol.pairing import MAX_WRONG_TRIES, code_head
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import (
    LOCKED,
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
from tests.storage.memory_money import Book, BrokenConstraintError, MemoryMoney

__all__ = ["BrokenConstraintError", "MemoryStore", "Tables"]


class Job(msgspec.Struct):
    """Everything about one job."""

    new: NewJob
    queue_deadline: UnixMs
    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    failures: int = 0
    worker_pubkey: str | None = None
    lease_deadline: UnixMs | None = None
    tried_pubkeys: tuple[str, ...] = ()
    last_failure: Failure | None = None
    result: bytes | None = None
    completed_at: UnixMs | None = None
    receipt: StoredReceipt | None = None
    audit_of: str | None = None
    paid: bool = False


class Code(msgspec.Struct):
    """A pairing code, and what came of it."""

    user_id: str
    expires_at: UnixMs
    pairing: Pairing | None = None
    wrong_tries: int = 0

    def is_open(self, now: UnixMs) -> bool:
        """Whether it is neither claimed nor expired."""
        return self.pairing is None and now < self.expires_at


class Key(msgspec.Struct):
    """What a user's idempotency key stands for."""

    request_hash: str
    job_id: str
    created_at: UnixMs


class Tables(msgspec.Struct):
    """What is kept; dictionaries are in the order of commit."""

    jobs: dict[str, Job] = {}
    owners: dict[str, str] = {}
    codes: dict[str, Code] = {}
    keys: dict[tuple[str, str], Key] = {}
    api_keys: dict[str, ApiKey] = {}
    key_days: dict[str, dict[int, int]] = {}
    worker_records: dict[str, WorkerRecord] = {}
    alive_at: UnixMs | None = None
    evidence: list[Evidence] = []
    book: Book = msgspec.field(default_factory=Book)


class MemoryStore(MemoryMoney, Store):
    """A store that forgets with its process."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._in_transaction = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._in_transaction:
            raise RuntimeError("a transaction is already under way")
        before = copy.deepcopy(self._tables)
        self._in_transaction = True
        try:
            yield
        except BaseException:
            for field in Tables.__struct_fields__:
                setattr(self._tables, field, getattr(before, field))
            raise
        finally:
            self._in_transaction = False

    def close(self) -> None:
        """Nothing to give up."""

    def insert_job(
        self, job: NewJob, key: IdempotencyKey | None = None, *, paid: bool = False
    ) -> Replay | None:
        self._need_transaction()
        replay = self.find_replay(job.user_id, key) if key else None
        if replay is not None:
            return replay
        if job.job_id in self._tables.jobs:
            raise BrokenConstraintError(job.job_id)
        self._tables.jobs[job.job_id] = Job(job, job.queue_deadline, paid=paid)
        if key:
            self._tables.keys[job.user_id, key.key] = Key(key.request_hash, job.job_id, job.created_at)
        return None

    def find_replay(self, user_id: str, key: IdempotencyKey) -> Replay | None:
        earlier = self._tables.keys.get((user_id, key.key))
        if earlier is None:
            return None
        return Replay(earlier.job_id, earlier.request_hash == key.request_hash)

    def assign_job(
        self, job_id: str, attempt: int, worker_pubkey: str, lease_deadline: UnixMs
    ) -> bytes | None:
        job = self._job_for(JobEvent.CLAIM, job_id, attempt - 1)
        if job is None:
            return None
        job.status, job.attempt = JobStatus.ASSIGNED, attempt
        job.worker_pubkey, job.lease_deadline = worker_pubkey, lease_deadline
        return job.new.payload

    def start_job(self, job_id: str, attempt: int) -> bool:
        job = self._job_for(JobEvent.START, job_id, attempt)
        if job is None:
            return False
        job.status = JobStatus.RUNNING
        return True

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
        job = self._job_for(JobEvent.REQUEUE, job_id, attempt)
        if job is None:
            return False
        if keep_tried:
            assert job.worker_pubkey is not None
            job.tried_pubkeys += (job.worker_pubkey,)
        job.status, job.last_failure, job.queue_deadline = JobStatus.PENDING, reason, queue_deadline
        job.worker_pubkey = job.lease_deadline = None
        job.failures += counts
        return True

    def complete_job(
        self, job_id: str, attempt: int, worker_pubkey: str, result: bytes, completed_at: UnixMs
    ) -> JobView | None:
        job = self._job_for(JobEvent.COMPLETE, job_id, attempt)
        if job is None or job.worker_pubkey != worker_pubkey:
            return None
        return self._end(job, JobStatus.COMPLETED, result, completed_at)

    def fail_job(self, job_id: str, attempt: int, result: bytes, completed_at: UnixMs) -> JobView | None:
        job = self._job_for(JobEvent.FAIL, job_id, attempt)
        return None if job is None else self._end(job, JobStatus.FAILED, result, completed_at)

    def cancel_job(self, job_id: str, result: bytes, completed_at: UnixMs) -> JobView | None:
        self._need_transaction()
        job = self._tables.jobs.get(job_id)
        if job is None or job.status not in sources(JobEvent.CANCEL):
            return None
        return self._end(job, JobStatus.CANCELLED, result, completed_at)

    def job_view(self, job_id: str) -> JobView | None:
        job = self._tables.jobs.get(job_id)
        return None if job is None else msgspec.structs.replace(self._view(job), receipt=job.receipt)

    def completed_by(self, job_id: str) -> tuple[str, int] | None:
        job = self._tables.jobs.get(job_id)
        if job is None or job.status is not JobStatus.COMPLETED:
            return None
        assert job.worker_pubkey is not None
        return job.worker_pubkey, job.attempt

    def job_payload(self, job_id: str) -> bytes | None:
        job = self._tables.jobs.get(job_id)
        return None if job is None else job.new.payload

    def put_evidence(self, evidence: Evidence, most: int) -> bool:
        self._need_transaction()
        if len(self.evidence(evidence.worker_pubkey)) >= most:
            return False
        self._tables.evidence.append(evidence)
        return True

    def evidence(self, worker_pubkey: str) -> tuple[Evidence, ...]:
        return tuple(piece for piece in self._tables.evidence if piece.worker_pubkey == worker_pubkey)

    def delete_evidence(self, before: UnixMs, limit: int) -> int:
        self._need_transaction()
        old = [piece for piece in self._tables.evidence if piece.created_at < before]
        oldest = sorted(old, key=lambda piece: piece.created_at)[:limit]
        for piece in oldest:
            self._tables.evidence.remove(piece)
        return len(oldest)

    def put_receipt(self, job_id: str, receipt: StoredReceipt, created_at: UnixMs) -> bool:
        self._need_transaction()
        job = self._tables.jobs.get(job_id)
        if job is None:
            raise BrokenConstraintError(job_id)
        if job.receipt is not None and (job.receipt.verified or not receipt.verified):
            return False
        named = None if job.receipt is None else job.receipt.payment_ref
        job.receipt = msgspec.structs.replace(receipt, payment_ref=receipt.payment_ref or named)
        return True

    def name_settlement(self, job_id: str, transaction_ref: str) -> bool:
        self._need_transaction()
        job = self._tables.jobs.get(job_id)
        if job is None or job.receipt is None or job.receipt.payment_ref is not None:
            return False
        job.receipt = msgspec.structs.replace(job.receipt, payment_ref=transaction_ref)
        return True

    def unfinished_jobs(self) -> Iterator[UnfinishedJob]:
        return iter([_unfinished(job) for job in self._tables.jobs.values() if job.status in UNFINISHED])

    def trusted_pubkeys(self, user_id: str) -> tuple[str, ...]:
        return tuple(pairing.provider_pubkey for pairing in self.pairings(user_id))

    def owner(self, user_id: str) -> str | None:
        return self._tables.owners.get(user_id)

    def put_owner(self, user_id: str, token_hash: str, created_at: UnixMs) -> bool:
        self._need_transaction()
        owner = self._tables.owners.get(user_id)
        if owner is not None and (owner != LOCKED or token_hash == LOCKED):
            return False
        self._tables.owners[user_id] = token_hash
        return True

    def create_pairing(self, user_id: str, code: str, created_at: UnixMs, expires_at: UnixMs) -> None:
        self._need_transaction()
        if code in self._tables.codes:
            raise BrokenConstraintError(code)
        self._tables.codes[code] = Code(user_id, expires_at)

    def open_codes(self, user_id: str, now: UnixMs) -> int:
        return sum(code.user_id == user_id and code.is_open(now) for code in self._tables.codes.values())

    def delete_dead_codes(self, before: UnixMs, limit: int) -> int:
        self._need_transaction()
        dead = [
            name
            for name, code in self._tables.codes.items()
            if code.pairing is None and code.expires_at < before
        ][:limit]
        for name in dead:
            del self._tables.codes[name]
        return len(dead)

    def claim_pairing(
        self, code: str, provider_pubkey: str, now: UnixMs, *, signed: bool = False
    ) -> Pairing | ClaimRefusal:
        self._need_transaction()
        kept = self._tables.codes.get(code)
        if kept is None or (kept.pairing is None and kept.wrong_tries >= MAX_WRONG_TRIES):
            for name, other in self._tables.codes.items():
                if code_head(name) == code_head(code) and other.is_open(now):
                    other.wrong_tries += 1
            return ClaimRefusal.INVALID_CODE
        if kept.pairing is not None:
            return ClaimRefusal.ALREADY_CLAIMED
        if now >= kept.expires_at:
            return ClaimRefusal.EXPIRED
        kept.pairing = Pairing(
            user_id=kept.user_id, provider_pubkey=provider_pubkey, paired_at=now, signed=signed
        )
        return next(p for p in self.pairings(kept.user_id) if p.provider_pubkey == provider_pubkey)

    def pairings(self, user_id: str) -> tuple[Pairing, ...]:
        claimed = [code.pairing for code in self._tables.codes.values() if code.pairing is not None]
        oldest_first = sorted(
            (pairing for pairing in claimed if pairing.user_id == user_id),
            key=lambda pairing: (pairing.paired_at, pairing.provider_pubkey),
        )
        first_by_key: dict[str, Pairing] = {}
        for pairing in oldest_first:
            first = first_by_key.setdefault(pairing.provider_pubkey, pairing)
            if pairing.signed:
                first_by_key[pairing.provider_pubkey] = msgspec.structs.replace(first, signed=True)
        return tuple(first_by_key.values())

    def revoke_pairing(self, user_id: str, provider_pubkey: str) -> bool:
        self._need_transaction()
        claims = [
            name
            for name, code in self._tables.codes.items()
            if code.pairing is not None
            and (code.user_id, code.pairing.provider_pubkey) == (user_id, provider_pubkey)
        ]
        for name in claims:
            del self._tables.codes[name]
        return bool(claims)

    def put_api_key(self, key: ApiKey) -> None:
        self._need_transaction()
        if key.key_id in self._tables.api_keys:
            raise BrokenConstraintError(key.key_id)
        self._tables.api_keys[key.key_id] = key

    def revoke_api_key(self, key_id: str, now: UnixMs) -> bool:
        self._need_transaction()
        key = self._tables.api_keys.get(key_id)
        if key is None or key.revoked_at is not None:
            return False
        self._tables.api_keys[key_id] = msgspec.structs.replace(key, revoked_at=now)
        return True

    def api_keys(self) -> tuple[ApiKey, ...]:
        return tuple(sorted(self._tables.api_keys.values(), key=lambda key: (key.created_at, key.key_id)))

    def count_key_job(self, quota: DayQuota) -> bool:
        self._need_transaction()
        if quota.key_id not in self._tables.api_keys:
            raise BrokenConstraintError(quota.key_id)
        counted = self._tables.key_days.setdefault(quota.key_id, {})
        if counted.get(quota.day, 0) >= quota.jobs:
            return False
        counted[quota.day] = counted.get(quota.day, 0) + 1
        if counted[quota.day] == 1:
            for day in [day for day in counted if day < quota.day]:
                del counted[day]
        return True

    def put_worker_record(self, record: WorkerRecord) -> None:
        self._need_transaction()
        kept = self._tables.worker_records.get(record.pubkey)
        bar = (None, None) if kept is None else (kept.barred_at, kept.barred_reason)
        self._tables.worker_records[record.pubkey] = msgspec.structs.replace(
            record, barred_at=bar[0], barred_reason=bar[1]
        )

    def worker_record(self, pubkey: str) -> WorkerRecord | None:
        return self._tables.worker_records.get(pubkey)

    def worker_records(self, limit: int) -> tuple[WorkerRecord, ...]:
        return tuple(reversed(self._tables.worker_records.values()))[:limit]

    def bar_worker(self, pubkey: str, reason: str, now: UnixMs) -> bool:
        self._need_transaction()
        kept = self._tables.worker_records.get(pubkey) or WorkerRecord(
            pubkey=pubkey, first_seen=now, last_seen=now
        )
        if kept.barred_at is not None:
            return False
        barred = msgspec.structs.replace(kept, barred_at=now, barred_reason=reason)
        self._tables.worker_records[pubkey] = barred
        return True

    def unbar_worker(self, pubkey: str) -> bool:
        self._need_transaction()
        kept = self._tables.worker_records.get(pubkey)
        if kept is None or kept.barred_at is None:
            return False
        self._tables.worker_records[pubkey] = msgspec.structs.replace(
            kept, barred_at=None, barred_reason=None
        )
        return True

    def barred_workers(self) -> tuple[str, ...]:
        records = self._tables.worker_records.values()
        return tuple(sorted(record.pubkey for record in records if record.barred_at is not None))

    def insert_audit(
        self,
        job_id: str,
        audit_of: str,
        user_id: str,
        created_at: UnixMs,
        window: DurationMs,
        lease: DurationMs,
    ) -> bool:
        self._need_transaction()
        audited = self._tables.jobs.get(audit_of)
        if audited is None or audited.status is not JobStatus.COMPLETED:
            return False
        deadline = UnixMs(created_at + window)
        self.insert_job(
            NewJob(
                job_id=job_id,
                job_type=audited.new.job_type,
                tier=Tier.CHEAP,
                privacy_class=audited.new.privacy_class,
                user_id=user_id,
                payload=audited.new.payload,
                model=audited.new.model,
                created_at=created_at,
                queue_deadline=deadline,
                queue_window=window,
                lease=lease,
            )
        )
        self._tables.jobs[job_id].audit_of = audit_of
        return True

    def drop_audits(self, result: bytes, completed_at: UnixMs) -> int:
        self._need_transaction()
        dropped = [
            job
            for job in self._tables.jobs.values()
            if job.audit_of is not None and job.status in sources(JobEvent.FAIL)
        ]
        for job in dropped:
            self._end(job, JobStatus.FAILED, result, completed_at)
        return len(dropped)

    def note_alive(self, now: UnixMs) -> None:
        self._need_transaction()
        self._tables.alive_at = now

    def last_alive(self) -> UnixMs | None:
        return self._tables.alive_at

    def delete_finished(self, before: UnixMs, limit: int) -> int:
        self._need_transaction()
        ended = [
            (job.completed_at, job_id)
            for job_id, job in self._tables.jobs.items()
            if job.completed_at is not None and job.completed_at < before
            if job_id not in self._tables.book.open_jobs()
        ]
        oldest = sorted(ended, key=lambda end: end[0])[:limit]
        for _, job_id in oldest:
            del self._tables.jobs[job_id]
        for name, key in list(self._tables.keys.items()):
            if key.job_id not in self._tables.jobs:
                del self._tables.keys[name]
        return len(oldest)

    def delete_idempotency_keys(self, before: UnixMs, limit: int) -> int:
        self._need_transaction()
        old = [(key.created_at, name) for name, key in self._tables.keys.items() if key.created_at < before]
        oldest = sorted(old, key=lambda first_use: first_use[0])[:limit]
        for _, name in oldest:
            del self._tables.keys[name]
        return len(oldest)

    def _job_for(self, event: JobEvent, job_id: str, attempt: int) -> Job | None:
        self._need_transaction()
        job = self._tables.jobs.get(job_id)
        if job is None or job.attempt != attempt or job.status not in sources(event):
            return None
        return job

    def _end(self, job: Job, status: JobStatus, result: bytes, completed_at: UnixMs) -> JobView:
        job.status, job.result, job.completed_at = status, result, completed_at
        return self._view(job)

    def _view(self, job: Job) -> JobView:
        payment = self.payment_of(job.new.job_id) if job.paid else None
        return msgspec.structs.replace(_view(job), payment=None if payment is None else payment.view())

    def _book(self) -> Book:
        return self._tables.book

    def _status_of(self, job_id: str) -> JobStatus | None:
        job = self._tables.jobs.get(job_id)
        return None if job is None else job.status

    def _need_transaction(self) -> None:
        if not self._in_transaction:
            raise RuntimeError("changes need a transaction")


def _view(job: Job) -> JobView:
    return JobView(
        job_id=job.new.job_id,
        user_id=job.new.user_id,
        status=job.status,
        result=job.result,
        created_at=job.new.created_at,
        completed_at=job.completed_at,
    )


def _unfinished(job: Job) -> UnfinishedJob:
    new = job.new
    return UnfinishedJob(
        job_id=new.job_id,
        job_type=new.job_type,
        tier=new.tier,
        privacy_class=new.privacy_class,
        user_id=new.user_id,
        model=new.model,
        status=job.status,
        attempt=job.attempt,
        failures=job.failures,
        worker_pubkey=job.worker_pubkey,
        lease_deadline=job.lease_deadline,
        created_at=new.created_at,
        queue_deadline=job.queue_deadline,
        queue_window=new.queue_window,
        lease=new.lease,
        run_limit=new.run_limit,
        tried_pubkeys=job.tried_pubkeys,
        last_failure=job.last_failure,
        recipients=new.recipients,
    )
