"""Jobs, keys and frames for tests of the actors; each test names only what it is about."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.messages import JobChunk, JobComplete, JobFailed, JobReject, JobStarted
from compute_router.protocol.receipts import SignedReceipt, sha256_hex
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import NewJob, UnfinishedJob

NOON: Final = UnixMs(1_770_638_400_000)
OUTPUT: Final = b'{"summary":"short","word_count":1}'
LLM: Final = JobType.LLM_INFER
TASK: Final = JobType.TASK


def key(letter: str) -> str:
    """A provider key, named by one hex digit."""
    return letter * 64


def a_job(
    job_id: str = "job",
    *,
    job_type: JobType = TASK,
    tier: Tier = Tier.CHEAP,
    user: str = "alice",
    private: bool = False,
    model: str | None = None,
    window: int = 30_000,
    lease: int | None = None,
    run_limit: int | None = None,
    sealed_to: tuple[str, ...] | None = None,
) -> NewJob:
    """A job as committed at NOON; its lease is the usual one of its type, unless it is given."""
    return NewJob(
        job_id=job_id,
        job_type=job_type,
        tier=tier,
        privacy_class=PrivacyClass.PRIVATE if private or sealed_to else PrivacyClass.PUBLIC,
        user_id=user,
        payload=b'{"task_type":"summarize","input":"Long."}',
        model=model,
        created_at=NOON,
        queue_deadline=UnixMs(NOON + window),
        queue_window=DurationMs(window),
        lease=MatchingPolicy().lease(job_type, None) if lease is None else DurationMs(lease),
        run_limit=None if run_limit is None else DurationMs(run_limit),
        recipients=sealed_to,
    )


def an_unfinished_job(job_id: str = "job") -> UnfinishedJob:
    """A job that a restart finds waiting for its first worker."""
    new = a_job(job_id)
    kept = {field: getattr(new, field) for field in NewJob.__struct_fields__ if field != "payload"}
    return UnfinishedJob(
        **kept,
        status=JobStatus.PENDING,
        attempt=0,
        failures=0,
        worker_pubkey=None,
        lease_deadline=None,
        tried_pubkeys=(),
        last_failure=None,
    )


def completion(
    job_id: str, *, output: bytes = OUTPUT, attempt: int | None = None, output_hash: str | None = None
) -> JobComplete:
    """A result without a receipt, as phones send it."""
    return JobComplete(
        job_id=job_id,
        output=msgspec.Raw(output),
        output_hash=sha256_hex(output) if output_hash is None else output_hash,
        attempt=attempt,
    )


def signed_completion(signed: SignedReceipt, output: bytes = OUTPUT) -> JobComplete:
    """The result of the job ``job`` with its receipt."""
    return JobComplete(
        job_id="job",
        output=msgspec.Raw(output),
        output_hash=sha256_hex(output),
        receipt=msgspec.Raw(signed.receipt_json),
        receipt_signature=signed.signature,
    )


def started(job_id: str, attempt: int = 1) -> JobStarted:
    return JobStarted(job_id, attempt)


def chunk(job_id: str, attempt: int = 1, seq: int = 0) -> JobChunk:
    return JobChunk(job_id, attempt, seq, "piece")


def reject(job_id: str, attempt: int | None = None, reason: str = "too hot") -> JobReject:
    return JobReject(job_id, reason, attempt)


def busy(job_id: str, attempt: int | None = None) -> JobReject:
    """A refusal that says nothing bad about job or worker."""
    return JobReject(job_id, "busy", attempt)


def failed(job_id: str, attempt: int = 1, *, retryable: bool = True, code: str = "crash") -> JobFailed:
    return JobFailed(job_id, attempt, code, "it broke", retryable)
