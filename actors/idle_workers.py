"""Free workers, indexed by what jobs ask for, so that a claim never looks through the pool."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final

from compute_router.actors.live import Demand, LiveJob, LiveWorker
from compute_router.actors.track_record import Band
from compute_router.protocol.jobs import ProviderType

TRIAL_EVERY: Final = 64
"""Each so many claims, the lowest band is looked at first, so that its workers can earn their way up."""

_TRIED_SKIPPED: Final = 8
"""How many workers at the head of a line may be passed over because they tried the job before."""

_BEST_FIRST: Final = tuple(Band)
_TRIAL: Final = (Band.POOR, Band.GOOD, Band.FAIR)

_Line = OrderedDict[int, LiveWorker]


class IdleWorkers:
    """For each demand and kind of machine, the free workers by band, in each band longest idle first."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Demand, ProviderType], tuple[_Line, ...]] = {}
        self._claims = 0

    def add(self, worker: LiveWorker) -> None:
        """Put a worker at the end of the lines it stands in; it counts as idle from now."""
        if worker.record is not None and worker.band is not worker.record.band:
            self.discard(worker)
            worker.band = worker.record.band
        for demand in worker.demands:
            key = (demand, worker.provider_type)
            lines = self._lines.get(key)
            if lines is None:
                lines = self._lines[key] = tuple(OrderedDict() for _ in Band)
            line = lines[worker.band]
            line[worker.worker_id] = worker
            line.move_to_end(worker.worker_id)

    def discard(self, worker: LiveWorker) -> None:
        """Take a worker out of its lines, if it is there."""
        for demand in worker.demands:
            key = (demand, worker.provider_type)
            lines = self._lines.get(key)
            if lines is not None:
                lines[worker.band].pop(worker.worker_id, None)
                if not any(lines):
                    del self._lines[key]

    def band_changed(self, worker: LiveWorker) -> None:
        """Move a worker to the end of the lines of its new band, if it is idle."""
        for demand in worker.demands:
            lines = self._lines.get((demand, worker.provider_type))
            if lines is not None and worker.worker_id in lines[worker.band]:
                self.add(worker)
                return

    def first(
        self, demand: Demand, providers: tuple[ProviderType, ...], tried: tuple[str, ...]
    ) -> LiveWorker | None:
        """The worker to take: one that has not tried the job, else any; then by kind, band, longest idle."""
        self._claims += 1
        bands = _BEST_FIRST if self._claims % TRIAL_EVERY else _TRIAL
        second_choice = None
        for provider_type in providers:
            lines = self._lines.get((demand, provider_type))
            if lines is None:
                continue
            for band in bands:
                for worker in islice(lines[band].values(), _TRIED_SKIPPED):
                    if worker.pubkey not in tried:
                        return worker
                    second_choice = second_choice or worker
        return second_choice

    def heads(self, demand: Demand, band: Band, length: int) -> Iterator[LiveWorker]:
        """The longest idle workers of a band, up to ``length`` of each kind of machine."""
        for provider_type in ProviderType:
            lines = self._lines.get((demand, provider_type))
            if lines is not None:
                yield from islice(lines[band].values(), length)


def preference(worker: LiveWorker, job: LiveJob, providers: tuple[ProviderType, ...]) -> tuple[object, ...]:
    """The same order for a few workers that are looked at one by one; the least is to be taken."""
    band = worker.band if worker.record is None else worker.record.band
    return worker.pubkey in job.tried, providers.index(worker.provider_type), band, worker.idle_since
