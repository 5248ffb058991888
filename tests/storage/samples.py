"""Jobs, receipts and moments for storage tests; each test names only what it is about."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.api_keys import KeyScope
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import ApiKey, NewJob, Store, StoredReceipt

NOON: Final = UnixMs(1_770_638_400_123)
LEASE_END: Final = UnixMs(NOON + 60_000)
WINDOW_END: Final = UnixMs(NOON + 30_000)
ALICE: Final = "alice"
DESKTOP: Final = "d" * 64
PHONE: Final = "a" * 64
OUTPUT: Final = b'{"summary":"short","word_count":1}'
ERROR: Final = b'{"error":"no_eligible_worker"}'

_JOB: Final = NewJob(
    job_id="job-1",
    job_type=JobType.TASK,
    tier=Tier.CHEAP,
    privacy_class=PrivacyClass.PUBLIC,
    user_id=ALICE,
    payload=b'{"task_type":"summarize","input":"Long."}',
    model=None,
    created_at=NOON,
    queue_deadline=WINDOW_END,
    queue_window=DurationMs(30_000),
    lease=DurationMs(20_000),
)


def a_job(job_id: str = "job-1", **changes: object) -> NewJob:
    """A public CHEAP task, but for the changes."""
    return msgspec.structs.replace(_JOB, job_id=job_id, **changes)


def a_receipt(*, verified: bool = True, **changes: object) -> StoredReceipt:
    """A receipt by DESKTOP."""
    receipt = StoredReceipt(
        provider_pubkey=DESKTOP, receipt_json=b'{"job_id":"job-1"}', signature="c2ln", verified=verified
    )
    return msgspec.structs.replace(receipt, **changes)


def an_api_key(key_id: str = "alice0000000", **changes: object) -> ApiKey:
    """A key of alice without limits, but for the changes."""
    key = ApiKey(
        key_id=key_id,
        key_hash="e" * 64,
        name="",
        scope=KeyScope.USER,
        user_id=ALICE,
        jobs_per_minute=None,
        jobs_at_once=None,
        jobs_per_day=None,
        created_at=NOON,
    )
    return msgspec.structs.replace(key, **changes)


def later(ms: int) -> UnixMs:
    """A moment after NOON."""
    return UnixMs(NOON + ms)


def insert(store: Store, *jobs: NewJob) -> None:
    """Commit jobs in one transaction."""
    with store.transaction():
        for job in jobs:
            store.insert_job(job)
