"""Jobs, keys and frames for tests of the actors; each test names only what it is about."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.messages import JobComplete, JobFailed, JobReject, JobStarted
from compute_router.protocol.receipts import sha256_hex
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import NewJob

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
) -> NewJob:
    """A job as committed at NOON."""
    return NewJob(
        job_id=job_id,
        job_type=job_type,
        tier=tier,
        privacy_class=PrivacyClass.PRIVATE if private else PrivacyClass.PUBLIC,
        user_id=user,
        payload=b'{"task_type":"summarize","input":"Long."}',
        model=model,
        created_at=NOON,
        queue_deadline=UnixMs(NOON + 30_000),
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


def started(job_id: str, attempt: int = 1) -> JobStarted:
    return JobStarted(job_id, attempt)


def reject(job_id: str, attempt: int | None = None, reason: str = "busy") -> JobReject:
    return JobReject(job_id, reason, attempt)


def failed(job_id: str, attempt: int = 1, *, retryable: bool = True) -> JobFailed:
    return JobFailed(job_id, attempt, "crash", "it broke", retryable)
