"""What each proven key did so far, and the score that follows from it, as plain classes.

The score answers: how likely is the next attempt to bring a result? It begins at 19/20, as if 20 jobs had
gone that way, and each outcome moves it::

    good, bad = KEEP * good + won, KEEP * bad + lost    at each outcome; KEEP = 1 - 1/200
    score     = (19 + good) / (20 + good + bad)

``won`` is 1 for a result. ``lost`` is 1 for an attempt that the worker failed, refused or lost, and 5 for
a result whose proof was wrong. So the last two hundred outcomes or so count, and old sins fade. A result
never lowers the score and nothing else raises it, because ``good`` and ``bad`` cannot pass 200 and 1000.

Kept apart from it are the counts, which never fade.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum
from itertools import islice
from typing import Final

from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import WorkerRecord

MAX_REMEMBERED: Final = 50_000
"""How many keys without a connection are kept in memory; the others are only on disk."""

_KEEP: Final = 1 - 1 / 200
_PRIOR_GOOD: Final = 19.0
_PRIOR_JOBS: Final = 20.0
_WRONG_PROOF: Final = 5.0
_GOOD_FROM: Final = 0.85
_FAIR_FROM: Final = 0.6


class Band(IntEnum):
    """The score as the Matcher uses it: whom it prefers, best first."""

    GOOD = 0
    FAIR = 1
    POOR = 2


def band_of(score: float) -> Band:
    """GOOD from 0.85, FAIR from 0.6, below that POOR."""
    if score >= _GOOD_FROM:
        return Band.GOOD
    return Band.FAIR if score >= _FAIR_FROM else Band.POOR


class TrackRecord:
    """One key's record. ``known`` is false while what the disk holds of it is still being read.

    ``tasks`` is the feature by which the key's newest connection promises to give every built-in task the
    same output as others with that feature. ``barred`` is set once this run of the coordinator barred it.
    """

    __slots__ = (
        "audits_agreed", "audits_disagreed", "bad", "bad_receipts", "band", "barred", "completed", "failed",
        "first_seen", "good", "known", "last_seen", "latency_sum", "lost", "pubkey", "rejected", "tasks",
    )  # fmt: skip

    def __init__(self, pubkey: str, *, known: bool = True) -> None:
        self.pubkey = pubkey
        self.known = known
        self.tasks: str | None = None
        self.barred = False
        self.band = Band.GOOD
        self.good = self.bad = 0.0
        self.completed = self.failed = self.rejected = self.lost = self.bad_receipts = 0
        self.latency_sum = 0
        self.audits_agreed = self.audits_disagreed = 0
        self.first_seen: UnixMs | None = None
        self.last_seen: UnixMs | None = None

    @property
    def score(self) -> float:
        """From 0 to 1, both excluded."""
        return (_PRIOR_GOOD + self.good) / (_PRIOR_JOBS + self.good + self.bad)

    @property
    def clean(self) -> bool:
        """Whether it never brought a wrong proof and never was the odd one in an audit."""
        return not self.bad_receipts and not self.audits_disagreed

    def add(self, row: WorkerRecord) -> None:
        """Add what the disk holds of the key."""
        self.completed += row.completed
        self.failed += row.failed
        self.rejected += row.rejected
        self.lost += row.lost
        self.bad_receipts += row.bad_receipts
        self.latency_sum += row.latency_sum
        self.audits_agreed += row.audits_agreed
        self.audits_disagreed += row.audits_disagreed
        self.good += row.good
        self.bad += row.bad
        self.first_seen, self.last_seen = row.first_seen, self.last_seen or row.last_seen
        self.band = band_of(self.score)

    def row(self, now: UnixMs) -> WorkerRecord:
        """The record as it is kept. ``now`` stands for times that are not known yet."""
        return WorkerRecord(
            pubkey=self.pubkey,
            first_seen=now if self.first_seen is None else self.first_seen,
            last_seen=now if self.last_seen is None else self.last_seen,
            completed=self.completed,
            failed=self.failed,
            rejected=self.rejected,
            lost=self.lost,
            bad_receipts=self.bad_receipts,
            latency_sum=DurationMs(self.latency_sum),
            audits_agreed=self.audits_agreed,
            audits_disagreed=self.audits_disagreed,
            good=self.good,
            bad=self.bad,
        )


class TrackRecords:
    """The records of connected keys, and of those that were here last.

    Each change is noted, and :meth:`take_changed` hands the changed rows out. Methods that change a score
    return whether the band changed with it.
    """

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._records: dict[str, TrackRecord] = {}
        self._resting: OrderedDict[str, None] = OrderedDict()
        self._changed: dict[str, TrackRecord] = {}
        self._all_here = True

    def __len__(self) -> int:
        return len(self._records)

    def load(self, rows: Iterable[WorkerRecord], *, all_of_them: bool) -> None:
        """Take in what an earlier run left; ``all_of_them`` is false if the disk holds more."""
        for row in rows:
            record = self._records[row.pubkey] = TrackRecord(row.pubkey)
            record.add(row)
            self._resting[row.pubkey] = None
        self._all_here = self._all_here and all_of_them

    def learn(self, pubkey: str, row: WorkerRecord | None) -> bool:
        """The disk's answer about a key whose record was not :attr:`TrackRecord.known`."""
        record = self._records.get(pubkey)
        if record is None or record.known:
            return False
        record.known = True
        before = record.band
        if row is not None:
            record.add(row)
        return record.band is not before

    def find(self, pubkey: str) -> TrackRecord | None:
        """The record of a key, if it is in memory."""
        return self._records.get(pubkey)

    def of(self, pubkey: str) -> TrackRecord:
        """The record of a key that is here now. If it is not known, the disk must be asked."""
        self._resting.pop(pubkey, None)
        record = self._records.get(pubkey)
        if record is None:
            record = self._records[pubkey] = TrackRecord(pubkey, known=self._all_here)
        return record

    def rest(self, pubkey: str) -> None:
        """A key has no connection any more; the one that is away longest may be forgotten."""
        if pubkey not in self._records:
            return
        self._resting[pubkey] = None
        self._resting.move_to_end(pubkey)
        if len(self._resting) > self._max_remembered:
            oldest = next(iter(self._resting))
            if oldest in self._changed:
                # Not on disk yet, so it has to stay for now.
                self._resting.move_to_end(oldest)
                return
            del self._resting[oldest], self._records[oldest]
            self._all_here = False

    def completed(self, record: TrackRecord, latency: DurationMs | None) -> bool:
        """A result was believed. ``latency`` is from the sending to the result, None if it is not known."""
        record.completed += 1
        if latency is not None:
            record.latency_sum += latency
        record.good = _KEEP * record.good + 1
        record.bad *= _KEEP
        self._changed[record.pubkey] = record
        # A result never lowers the score, so there is nothing to look at from the best band.
        return record.band is not Band.GOOD and self._rate(record)

    def failed(self, record: TrackRecord) -> bool:
        """The worker said that it could not do a job that others may do."""
        record.failed += 1
        return self._lose(record, 1)

    def rejected(self, record: TrackRecord) -> bool:
        """The worker refused a job, and not for want of room."""
        record.rejected += 1
        return self._lose(record, 1)

    def lost(self, record: TrackRecord) -> bool:
        """The worker had a job, and then nothing more was heard about it."""
        record.lost += 1
        return self._lose(record, 1)

    def wrong_proof(self, record: TrackRecord) -> bool:
        """A result came with a hash or a receipt that does not prove it."""
        record.bad_receipts += 1
        return self._lose(record, _WRONG_PROOF)

    def audited(self, pubkey: str, *, agreed: bool) -> TrackRecord:
        """A key took part in an audit that was decided. This is no part of the score."""
        record = self._records.get(pubkey)
        if record is None:
            record = self.of(pubkey)
            self.rest(pubkey)
        if agreed:
            record.audits_agreed += 1
        else:
            record.audits_disagreed += 1
        self._changed[pubkey] = record
        return record

    def take_changed(self, now: UnixMs, limit: int | None = None) -> tuple[WorkerRecord, ...]:
        """The rows that changed since they were last taken, up to ``limit`` of them, oldest change first."""
        if not self._changed:
            return ()
        ready = list(islice((record for record in self._changed.values() if record.known), limit))
        for record in ready:
            del self._changed[record.pubkey]
            record.first_seen = record.first_seen or now
            record.last_seen = now
        return tuple(record.row(now) for record in ready)

    def _lose(self, record: TrackRecord, weight: float) -> bool:
        record.good *= _KEEP
        record.bad = _KEEP * record.bad + weight
        self._changed[record.pubkey] = record
        return self._rate(record)

    @staticmethod
    def _rate(record: TrackRecord) -> bool:
        before = record.band
        record.band = band_of(record.score)
        return record.band is not before
