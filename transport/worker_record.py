"""``GET /v1/workers/{pubkey}``: what a worker key did so far, and how far it is trusted with jobs.

Nothing here leads to a job.
"""

from __future__ import annotations

import re
from typing import Final

from compute_router.actors.messages.matcher import FindStanding, WorkerStanding
from compute_router.actors.messages.stored_trust import LoadWorkerRecord, WorkerRecordLoaded
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.actors.track_record import TrackRecord, band_of
from compute_router.protocol.errors import NotFoundError
from compute_router.protocol.http_api import TrackRecordAnswer, WorkerRecordAnswer
from compute_router.protocol.units import iso_from_unix_ms
from compute_router.storage.interface import WorkerRecord
from compute_router.transport.http_types import Answer, Request, json_answer

_PUBKEY: Final = re.compile(r"[0-9a-f]{64}")


class WorkerRecordResource:
    """The newest counts are the Matcher's; whether a key is barred the store knows."""

    def __init__(self, system: System) -> None:
        self._system = system

    async def get(self, request: Request, pubkey: str) -> Answer:
        if not _PUBKEY.fullmatch(pubkey):
            raise NotFoundError("A worker's key is 64 lowercase hex digits.")
        standing: WorkerStanding = await ask(self._system.matcher, FindStanding(pubkey))
        stored: WorkerRecordLoaded = await ask(self._system.store, LoadWorkerRecord(pubkey))
        if stored.record is None and standing.record is None and not standing.connected:
            raise NotFoundError("No worker with this key is known.")
        return json_answer(_answer(pubkey, standing, stored.record))


def _answer(pubkey: str, standing: WorkerStanding, stored: WorkerRecord | None) -> WorkerRecordAnswer:
    newest = standing.record or stored
    record = TrackRecord(pubkey)
    if newest is not None:
        record.add(newest)
    barred_at = None if stored is None else stored.barred_at
    return WorkerRecordAnswer(
        provider_pubkey=pubkey,
        connected=standing.connected,
        proven=standing.proven,
        barred=barred_at is not None,
        barred_at=None if barred_at is None else iso_from_unix_ms(barred_at),
        barred_reason=None if stored is None else stored.barred_reason,
        score=round(record.score, 4),
        band=band_of(record.score).name.lower(),
        record=None if newest is None else _counts(newest),
    )


def _counts(record: WorkerRecord) -> TrackRecordAnswer:
    return TrackRecordAnswer(
        completed=record.completed,
        failed=record.failed,
        rejected=record.rejected,
        lost=record.lost,
        bad_receipts=record.bad_receipts,
        mean_latency_ms=round(record.latency_sum / record.completed) if record.completed else None,
        audits_agreed=record.audits_agreed,
        audits_disagreed=record.audits_disagreed,
        first_seen=iso_from_unix_ms(record.first_seen),
        last_seen=iso_from_unix_ms(record.last_seen),
    )
