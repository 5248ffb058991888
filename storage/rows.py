"""Rows of the SQLite store as the records of the interface."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.api_keys import KeyScope
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.units import DurationMs, UnixMs, unix_ms_from_iso
from compute_router.storage.faults import unreadable
from compute_router.storage.interface import (
    ApiKey,
    Evidence,
    JobView,
    StoredReceipt,
    UnfinishedJob,
    WorkerRecord,
)

JobViewRow = tuple[
    str, bytes | None, str, str | None, str | None, bytes, str, int, str | None, str, int
]  # fmt: skip
ApiKeyRow = tuple[
    str, str, str, str, str | None, int | None, int | None, int | None, int, int | None
]  # fmt: skip
UnfinishedRow = tuple[
    str, str, str, str, str, str | None, str, int, int, str | None, int | None, str, int, int, int,
    int | None, str, str | None, str | None
]  # fmt: skip

WorkerRecordRow = tuple[
    str, int, int, int, int, int, int, int, int, int, int, float, float, int | None, str | None
]  # fmt: skip

EvidenceRow = tuple[str, int, str, str, bytes | None, str | None, int]

_PUBKEYS: Final = msgspec.json.Decoder(tuple[str, ...])


def pubkeys_json(pubkeys: tuple[str, ...]) -> str:
    """Keys as a column holds them: a JSON array."""
    return msgspec.json.encode(pubkeys).decode()


def job_view(job_id: str, row: JobViewRow) -> JobView:
    """A row of ``JOB_VIEW``; its receipt is NULL when the job has no receipt.

    Raises:
        StorageUnavailableError: the row holds what nobody can have written.
    """
    try:
        return _job_view(job_id, row)
    except (ValueError, TypeError) as error:
        raise unreadable(f"Job {job_id}", error) from error


def unfinished_job(row: UnfinishedRow) -> UnfinishedJob:
    """A row of ``UNFINISHED_JOB``.

    Raises:
        StorageUnavailableError: the row holds what nobody can have written.
    """
    try:
        return _unfinished_job(row)
    except (ValueError, TypeError) as error:
        raise unreadable(f"Job {row[0]}", error) from error


def api_key(row: ApiKeyRow) -> ApiKey:
    """A row of ``ALL_API_KEYS``.

    Raises:
        StorageUnavailableError: the row holds what nobody can have written.
    """
    key_id, key_hash, name, scope, user_id, per_minute, at_once, per_day, created_at, revoked_at = row
    try:
        return ApiKey(
            key_id=key_id,
            key_hash=key_hash,
            name=name,
            scope=KeyScope(scope),
            user_id=user_id,
            jobs_per_minute=per_minute,
            jobs_at_once=at_once,
            jobs_per_day=per_day,
            created_at=UnixMs(created_at),
            revoked_at=None if revoked_at is None else UnixMs(revoked_at),
        )
    except (ValueError, TypeError) as error:
        raise unreadable(f"API key {key_id}", error) from error


def worker_record(row: WorkerRecordRow) -> WorkerRecord:
    """A row of ``WORKER_RECORD``."""
    barred_at = row[13]
    return WorkerRecord(
        pubkey=row[0],
        first_seen=UnixMs(row[1]),
        last_seen=UnixMs(row[2]),
        completed=row[3],
        failed=row[4],
        rejected=row[5],
        lost=row[6],
        bad_receipts=row[7],
        latency_sum=DurationMs(row[8]),
        audits_agreed=row[9],
        audits_disagreed=row[10],
        good=row[11],
        bad=row[12],
        barred_at=None if barred_at is None else UnixMs(barred_at),
        barred_reason=row[14],
    )


def evidence(worker_pubkey: str, row: EvidenceRow) -> Evidence:
    """A row of ``EVIDENCE``."""
    job_id, attempt, reason, output_hash, receipt_json, signature, created_at = row
    return Evidence(
        job_id=job_id,
        attempt=attempt,
        worker_pubkey=worker_pubkey,
        reason=reason,
        output_hash=output_hash,
        receipt_json=receipt_json,
        signature=signature,
        created_at=UnixMs(created_at),
    )


def _job_view(job_id: str, row: JobViewRow) -> JobView:
    status, result, created_at, completed_at = row[:4]
    provider_pubkey, receipt_json, signature, verified, payment_ref, user_id = row[4:10]
    return JobView(
        job_id=job_id,
        user_id=user_id,
        status=JobStatus(status),
        result=result,
        created_at=unix_ms_from_iso(created_at),
        completed_at=None if completed_at is None else unix_ms_from_iso(completed_at),
        receipt=None
        if provider_pubkey is None
        else StoredReceipt(
            provider_pubkey=provider_pubkey,
            receipt_json=receipt_json,
            signature=signature,
            verified=bool(verified),
            payment_ref=payment_ref,
        ),
    )


def _unfinished_job(row: UnfinishedRow) -> UnfinishedJob:
    (
        job_id,
        job_type,
        tier,
        privacy_class,
        user_id,
        model,
        status,
        attempt,
        failures,
        worker_pubkey,
        lease_deadline,
        created_at,
        queue_deadline,
        queue_window,
        lease,
        run_limit,
        tried_pubkeys,
        last_failure,
        recipients,
    ) = row
    return UnfinishedJob(
        job_id=job_id,
        job_type=JobType(job_type),
        tier=Tier(tier),
        privacy_class=PrivacyClass(privacy_class),
        user_id=user_id,
        model=model,
        status=JobStatus(status),
        attempt=attempt,
        failures=failures,
        worker_pubkey=worker_pubkey,
        lease_deadline=None if lease_deadline is None else UnixMs(lease_deadline),
        created_at=unix_ms_from_iso(created_at),
        queue_deadline=UnixMs(queue_deadline),
        queue_window=DurationMs(queue_window),
        lease=DurationMs(lease),
        run_limit=None if run_limit is None else DurationMs(run_limit),
        tried_pubkeys=_PUBKEYS.decode(tried_pubkeys),
        last_failure=None if last_failure is None else Failure(last_failure),
        recipients=None if recipients is None else _PUBKEYS.decode(recipients),
    )
