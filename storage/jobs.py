"""What is asked of a database about jobs and their receipts, and the records of them that pass in and out.

Part of :class:`~compute_router.storage.interface.Store`; what is said there about transactions and counts
holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.payments import PaymentView
from compute_router.protocol.units import DurationMs, UnixMs


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


class JobsStore(Protocol):
    """The part of a store that knows about jobs."""

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

    def put_receipt(self, job_id: str, receipt: StoredReceipt, created_at: UnixMs) -> bool:
        """Keep the receipt of a job; an unverified one gives way to a verified one, nothing else does.

        Returns whether it was kept.
        """

    def unfinished_jobs(self) -> Iterator[UnfinishedJob]:
        """Every pending, assigned or running job in the order of commit."""

    def delete_finished(self, before: UnixMs, limit: int) -> int:
        """Delete up to ``limit`` jobs that ended before a time, oldest first, with their receipts.

        Their idempotency keys go with them, their payments stay. A job whose payment is open is not deleted.
        Returns how many jobs were deleted.
        """

    def delete_idempotency_keys(self, before: UnixMs, limit: int) -> int:
        """Forget up to ``limit`` keys first used before a time, oldest first; returns how many."""
