"""Child process that fills a new database with pending jobs, through the storage package alone."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Final

from benchmarks.clients import task_payload
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import NewJob
from compute_router.storage.sqlite_store import open_sqlite_store

_IN_ONE_TRANSACTION: Final = 1_000
_USERS: Final = 500
_HOUR: Final = DurationMs(3_600_000)
_LEASE: Final = DurationMs(20_000)


def main(path: Path, count: int) -> None:
    """Insert so many TASK jobs, which may wait for an hour."""
    store = open_sqlite_store(path)
    for first in range(0, count, _IN_ONE_TRANSACTION):
        with store.transaction():
            for number in range(first, min(first + _IN_ONE_TRANSACTION, count)):
                store.insert_job(_job(number))
    store.close()


def _job(number: int) -> NewJob:
    now = UnixMs(time.time_ns() // 1_000_000)
    return NewJob(
        job_id=str(uuid.uuid4()),
        job_type=JobType.TASK,
        tier=Tier.CHEAP,
        privacy_class=PrivacyClass.PUBLIC,
        user_id=f"seeker-{number % _USERS:03}",
        payload=task_payload(),
        model=None,
        created_at=now,
        queue_deadline=UnixMs(now + _HOUR),
        queue_window=_HOUR,
        lease=_LEASE,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
