"""What the rest of the coordinator asks of a database, and the records that pass in and out.

Each implementation gives the same meaning to these calls; ``tests/storage`` holds the contract. A store
is used by one thread at a time. Every call that changes something runs inside ``transaction()``; a
changed-row count of zero is answered with None or False, and means that somebody else was first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from enum import Enum
from typing import Final, Protocol

import msgspec

from compute_router.protocol.api_keys import KeyScope
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.payments import PaymentView
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.money import MoneyStore

LOCKED: Final = "locked"
"""In place of the hash of an owner's token: no token is right, and a user id is not free for the taking."""


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as committed. ``payload`` is the seeker's JSON, byte for byte.

    ``queue_window`` is how long it may wait for a worker each time it waits, ``lease`` how long a worker may
    hold it without a sign of life, ``run_limit`` how long it may run in all, or None. ``recipients`` are the
    keys that can open a sealed payload; None when it is plain.
    """

    job_id: str
    job_type: JobType
    tier: Tier
    privacy_class: PrivacyClass
    user_id: str
    payload: bytes
    model: str | None
    created_at: UnixMs
    queue_deadline: UnixMs
    queue_window: DurationMs
    lease: DurationMs
    run_limit: DurationMs | None = None
    recipients: tuple[str, ...] | None = None


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A seeker's name for one commit. ``request_hash`` is the SHA-256 hex of what was asked for."""

    key: str
    request_hash: str


class Replay(msgspec.Struct, frozen=True):
    """The key was used before: for the same request, or for another."""

    job_id: str
    same_request: bool


class UnfinishedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart needs to take a job up again; without the payload, which may be large.

    ``attempt`` is the number of the newest attempt, 0 before the first. ``worker_pubkey`` and
    ``lease_deadline`` are set while an attempt is under way. ``tried_pubkeys`` are the workers whose
    attempts ended, oldest first; ``last_failure`` is why the newest of these ended. ``failures`` counts the
    attempts that ended for a reason that counts. ``recipients`` is as in :class:`NewJob`.
    """

    job_id: str
    job_type: JobType
    tier: Tier
    privacy_class: PrivacyClass
    user_id: str
    model: str | None
    status: JobStatus
    attempt: int
    failures: int
    worker_pubkey: str | None
    lease_deadline: UnixMs | None
    created_at: UnixMs
    queue_deadline: UnixMs
    queue_window: DurationMs
    lease: DurationMs
    run_limit: DurationMs | None
    tried_pubkeys: tuple[str, ...]
    last_failure: Failure | None
    recipients: tuple[str, ...] | None = None


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its owner may see it. ``result`` is JSON, byte for byte as it arrived.

    ``payment`` is None for a free job.
    """

    job_id: str
    user_id: str
    status: JobStatus
    result: bytes | None
    created_at: UnixMs
    completed_at: UnixMs | None
    receipt: StoredReceipt | None = None
    payment: PaymentView | None = None


class StoredReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's receipt: its exact bytes, the signature, and whether our own check passed.

    ``payment_ref`` is the settlement of the job's payment, None before there is one: our word, not its.
    """

    provider_pubkey: str
    receipt_json: bytes
    signature: str
    verified: bool
    payment_ref: str | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A completion whose proof was wrong, as it came from a worker.

    ``reason`` is the code of the check that failed, ``output_hash`` the SHA-256 hex of the output that came.
    The receipt's exact bytes and the signature are None when they were missing, or too long to keep.
    """

    job_id: str
    attempt: int
    worker_pubkey: str
    reason: str
    output_hash: str
    receipt_json: bytes | None
    signature: str | None
    created_at: UnixMs


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """A user's trust in one worker key; ``signed`` if the key itself signed a claim for it."""

    user_id: str
    provider_pubkey: str
    paired_at: UnixMs
    signed: bool = False


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an API key; ``key_hash`` is the SHA-256 hex of the whole key.

    A user key has a ``user_id`` and perhaps limits; an admin key has neither.
    """

    key_id: str
    key_hash: str
    name: str
    scope: KeyScope
    user_id: str | None
    jobs_per_minute: int | None
    jobs_at_once: int | None
    jobs_per_day: int | None
    created_at: UnixMs
    revoked_at: UnixMs | None = None


class DayQuota(msgspec.Struct, frozen=True):
    """How many jobs a key may make on one day; days are counted from the epoch, in UTC."""

    key_id: str
    day: int
    jobs: int


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a proven worker key did so far. ``latency_sum`` is over its completed jobs.

    ``good`` and ``bad`` weigh its newest outcomes; the score follows from them. ``barred_at`` is set while
    the key may not take part, and ``barred_reason`` says why.
    """

    pubkey: str
    first_seen: UnixMs
    last_seen: UnixMs
    completed: int = 0
    failed: int = 0
    rejected: int = 0
    lost: int = 0
    bad_receipts: int = 0
    latency_sum: DurationMs = DurationMs(0)
    audits_agreed: int = 0
    audits_disagreed: int = 0
    good: float = 0.0
    bad: float = 0.0
    barred_at: UnixMs | None = None
    barred_reason: str | None = None


class ClaimRefusal(Enum):
    """Why a pairing code was not accepted."""

    INVALID_CODE = "invalid_code"
    ALREADY_CLAIMED = "already_claimed"
    EXPIRED = "expired"


class Store(MoneyStore, Protocol):
    """One open database."""

    def transaction(self) -> AbstractContextManager[None]:
        """Group calls into one atomic, durable commit; an exception inside undoes all of them."""

    def close(self) -> None:
        """Finish with the database and give up its lock. Calling it twice is harmless."""

    def insert_job(
        self, job: NewJob, key: IdempotencyKey | None = None, *, paid: bool = False
    ) -> Replay | None:
        """Keep a new job as ``pending`` with attempt 0.

        A user's idempotency key is kept with it. If the user used that key before, nothing is kept, and the
        earlier job is answered. The payment of a ``paid`` job must be kept in the same transaction.
        """

    def find_replay(self, user_id: str, key: IdempotencyKey) -> Replay | None:
        """The job that a user's key stands for already."""

    def assign_job(
        self, job_id: str, attempt: int, worker_pubkey: str, lease_deadline: UnixMs
    ) -> bytes | None:
        """Give a pending job whose attempt is ``attempt - 1`` to a worker; returns the payload."""

    def start_job(self, job_id: str, attempt: int) -> bool:
        """Note that the worker began: assigned to running."""

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
        """End an attempt and put the job back to pending.

        With ``keep_tried`` the attempt's worker joins ``tried_pubkeys``; without it, the worker is not
        held to have tried (it never had the job in hands). With ``counts`` one is added to ``failures``.
        """

    def complete_job(
        self, job_id: str, attempt: int, worker_pubkey: str, result: bytes, completed_at: UnixMs
    ) -> JobView | None:
        """Keep the output of an attempt that this worker holds; the view has no receipt yet."""

    def fail_job(self, job_id: str, attempt: int, result: bytes, completed_at: UnixMs) -> JobView | None:
        """End an unfinished job whose newest attempt is ``attempt`` without an output."""

    def cancel_job(self, job_id: str, result: bytes, completed_at: UnixMs) -> JobView | None:
        """End an unfinished job, at whatever attempt, because its owner wants it no more."""

    def job_view(self, job_id: str) -> JobView | None:
        """A job with its receipt, or None."""

    def completed_by(self, job_id: str) -> tuple[str, int] | None:
        """Worker key and attempt that completed a job; None when it is not completed or unknown."""

    def job_payload(self, job_id: str) -> bytes | None:
        """The payload of a job as it was committed; None when there is no such job."""

    def put_evidence(self, evidence: Evidence, most: int) -> bool:
        """Keep evidence against a worker key, unless ``most`` pieces against it are kept already.

        Returns whether it was kept.
        """

    def evidence(self, worker_pubkey: str) -> tuple[Evidence, ...]:
        """All that is kept against a worker key, oldest first."""

    def delete_evidence(self, before: UnixMs, limit: int) -> int:
        """Delete up to ``limit`` pieces of evidence from before a time, oldest first; returns how many."""

    def put_receipt(self, job_id: str, receipt: StoredReceipt, created_at: UnixMs) -> bool:
        """Keep the receipt of a job; an unverified one gives way to a verified one, nothing else does.

        Returns whether it was kept.
        """

    def unfinished_jobs(self) -> Iterator[UnfinishedJob]:
        """Every pending, assigned or running job in the order of commit."""

    def trusted_pubkeys(self, user_id: str) -> tuple[str, ...]:
        """Worker keys paired with a user."""

    def owner(self, user_id: str) -> str | None:
        """SHA-256 hex of the token of whoever owns a user id; None when nobody does yet."""

    def put_owner(self, user_id: str, token_hash: str, created_at: UnixMs) -> bool:
        """Make whoever has a token the owner of a user id; False when it has an owner, who stays that.

        LOCKED in place of a hash locks a user id without an owner; an owner may come after it.
        """

    def create_pairing(self, user_id: str, code: str, created_at: UnixMs, expires_at: UnixMs) -> None:
        """Keep a new, unclaimed pairing code."""

    def open_codes(self, user_id: str, now: UnixMs) -> int:
        """How many codes of a user are neither claimed nor expired; burnt ones count."""

    def delete_dead_codes(self, before: UnixMs, limit: int) -> int:
        """Forget some codes that expired unclaimed before a time; returns how many."""

    def claim_pairing(
        self, code: str, provider_pubkey: str, now: UnixMs, *, signed: bool = False
    ) -> Pairing | ClaimRefusal:
        """Use up a pairing code. A user may pair the same key again; it still counts once.

        A code that does not exist counts as a wrong try for every open code with the same head. After
        ``MAX_WRONG_TRIES`` of them a code is burnt: it is refused as if it did not exist.
        """

    def revoke_pairing(self, user_id: str, provider_pubkey: str) -> bool:
        """End a user's trust in a worker key, however often it was paired; False when there was none."""

    def pairings(self, user_id: str) -> tuple[Pairing, ...]:
        """A user's claimed pairings, one for each key, oldest first."""

    def put_api_key(self, key: ApiKey) -> None:
        """Keep a new API key."""

    def revoke_api_key(self, key_id: str, now: UnixMs) -> bool:
        """Note that a key may be used no more; False when it is unknown or was revoked before."""

    def api_keys(self) -> tuple[ApiKey, ...]:
        """Every key, oldest first, with those that were revoked."""

    def count_key_job(self, quota: DayQuota) -> bool:
        """Count one more job of a key on a day; False, and nothing counted, when it had all it may have.

        What was counted on earlier days is forgotten.
        """

    def put_worker_record(self, record: WorkerRecord) -> None:
        """Keep a key's record in place of the earlier one. Whether the key is barred is not touched."""

    def worker_record(self, pubkey: str) -> WorkerRecord | None:
        """What is kept of a worker key, or None."""

    def worker_records(self, limit: int) -> tuple[WorkerRecord, ...]:
        """Up to ``limit`` records, those of the newest keys first."""

    def bar_worker(self, pubkey: str, reason: str, now: UnixMs) -> bool:
        """Note that a key may not take part any more; False when it was barred before."""

    def unbar_worker(self, pubkey: str) -> bool:
        """Let a key take part again; False when it was not barred."""

    def barred_workers(self) -> tuple[str, ...]:
        """Every key that is barred."""

    def insert_audit(
        self,
        job_id: str,
        audit_of: str,
        user_id: str,
        created_at: UnixMs,
        window: DurationMs,
        lease: DurationMs,
    ) -> bool:
        """Keep a pending job that repeats a completed one; False when that one is not there any more."""

    def drop_audits(self, result: bytes, completed_at: UnixMs) -> int:
        """End every unfinished repetition without an output; how many these were."""

    def note_alive(self, now: UnixMs) -> None:
        """Remember that the coordinator was running at this time."""

    def last_alive(self) -> UnixMs | None:
        """The latest time of :meth:`note_alive`, or None. The time since then was an outage."""

    def delete_finished(self, before: UnixMs, limit: int) -> int:
        """Delete up to ``limit`` jobs that ended before a time, oldest first, with their receipts.

        Their idempotency keys go with them, their payments stay. A job whose payment is open is not deleted.
        Returns how many jobs were deleted.
        """

    def delete_idempotency_keys(self, before: UnixMs, limit: int) -> int:
        """Forget up to ``limit`` keys first used before a time, oldest first; returns how many."""
