"""What the rest of the coordinator asks of a database, and the records that pass in and out.

Each implementation gives the same meaning to these calls; ``tests/storage`` holds the contract. A store
is used by one thread at a time. Every call that changes something runs inside ``transaction()``; a
changed-row count of zero is answered with None or False, and means that somebody else was first.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from compute_router.protocol.units import UnixMs
from compute_router.storage.jobs import (
    IdempotencyKey,
    JobsStore,
    JobView,
    NewJob,
    Replay,
    StoredReceipt,
    UnfinishedJob,
)
from compute_router.storage.keys import ApiKey, DayQuota, KeysStore, key_for
from compute_router.storage.money import MoneyStore
from compute_router.storage.trust import LOCKED, ClaimRefusal, Pairing, TrustStore
from compute_router.storage.workers import Evidence, WorkerRecord, WorkersStore

__all__ = [
    "LOCKED",
    "ApiKey",
    "ClaimRefusal",
    "DayQuota",
    "Evidence",
    "IdempotencyKey",
    "JobView",
    "NewJob",
    "Pairing",
    "Replay",
    "Store",
    "StoredReceipt",
    "UnfinishedJob",
    "WorkerRecord",
    "key_for",
]


class Store(MoneyStore, JobsStore, TrustStore, KeysStore, WorkersStore, Protocol):
    """One open database."""

    def transaction(self) -> AbstractContextManager[None]:
        """Group calls into one atomic, durable commit; an exception inside undoes all of them."""

    def close(self) -> None:
        """Finish with the database and give up its lock. Calling it twice is harmless."""

    def note_alive(self, now: UnixMs) -> None:
        """Remember that the coordinator was running at this time."""

    def last_alive(self) -> UnixMs | None:
        """The latest time of :meth:`note_alive`, or None. The time since then was an outage."""
