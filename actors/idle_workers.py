"""Free workers, indexed by what jobs ask for, so that a claim never looks through the pool."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final

from compute_router.actors.live import Demand, LiveWorker
from compute_router.protocol.jobs import ProviderType

_TRIED_SKIPPED: Final = 8
"""How many workers at the head of a line may be passed over because they tried the job before."""


class IdleWorkers:
    """For each demand and kind of machine, the free workers, longest idle first."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Demand, ProviderType], OrderedDict[int, LiveWorker]] = {}

    def add(self, worker: LiveWorker) -> None:
        """Put a worker at the end of the lines it stands in; it counts as idle from now."""
        for demand in worker.demands:
            line = self._lines.setdefault((demand, worker.provider_type), OrderedDict())
            line[worker.worker_id] = worker
            line.move_to_end(worker.worker_id)

    def discard(self, worker: LiveWorker) -> None:
        """Take a worker out of its lines, if it is there."""
        for demand in worker.demands:
            key = (demand, worker.provider_type)
            line = self._lines.get(key)
            if line is not None:
                line.pop(worker.worker_id, None)
                if not line:
                    del self._lines[key]

    def first(
        self, demand: Demand, providers: tuple[ProviderType, ...], tried: tuple[str, ...]
    ) -> LiveWorker | None:
        """The worker to take: one that has not tried the job, else any; then by kind, then longest idle."""
        second_choice = None
        for provider_type in providers:
            line = self._lines.get((demand, provider_type))
            if not line:
                continue
            for worker in islice(line.values(), _TRIED_SKIPPED):
                if worker.pubkey not in tried:
                    return worker
                second_choice = second_choice or worker
        return second_choice
