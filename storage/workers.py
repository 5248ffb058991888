"""What is asked of a database about worker keys: records, bars, audits, and evidence against them.

Part of :class:`~compute_router.storage.interface.Store`; what is said there about transactions and counts
holds.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from compute_router.protocol.units import DurationMs, UnixMs


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


class WorkersStore(Protocol):
    """The part of a store that knows about worker keys."""

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

    def put_evidence(self, evidence: Evidence, most: int) -> bool:
        """Keep evidence against a worker key, unless ``most`` pieces against it are kept already.

        Returns whether it was kept.
        """

    def evidence(self, worker_pubkey: str) -> tuple[Evidence, ...]:
        """All that is kept against a worker key, oldest first."""

    def delete_evidence(self, before: UnixMs, limit: int) -> int:
        """Delete up to ``limit`` pieces of evidence from before a time, oldest first; returns how many."""
