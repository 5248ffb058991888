"""What proven keys, receipts of nine keys, audits and countersigning cost, on one coordinator.

The workers of one pool do not prove their keys and sign receipts of five keys, as any worker may. Those of
the other are workers of ours as they are. The pools take turns too: the one whose turn it is connects, while
the seekers rest, after the other has left.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import msgspec

from benchmarks.figures import Figure
from benchmarks.load import Measured, StandingSeekers
from benchmarks.load_log import Seconds
from benchmarks.patience import Patience
from benchmarks.scale import Scale
from benchmarks.servers import Server, coordinator
from benchmarks.simulated_worker import Habits
from benchmarks.turns import Cycle, Turn, others_figure, take_turns, turn_figures
from benchmarks.worker_pool import WorkerPool

TARGET: Final = 0.90
UNPROVEN: Final = "unproven workers, five-key receipts"
PROVEN: Final = "proven workers, nine-key receipts"
COUNTERSIGNED: Final = "the same, and every receipt fetched countersigned"
_WORKERS: Final = 50
_FIRST: Final = Seconds(1.0)
_WARM_UP: Final = Seconds(0.06)
# A worker without proof gets no job in its first 250 ms: it may be about to be refused.
_SETTLING: Final = Seconds(0.3)


class _Outcome(msgspec.Struct, frozen=True):
    """``jobs`` that seekers had from proven workers, and ``results`` that these gave: more, by the audits."""

    cycles: list[Cycle]
    jobs: int
    results: int


class _Workers:
    """Two pools of one server, at most one of them connected."""

    def __init__(self, server: Server) -> None:
        self.unproven = WorkerPool(server.port, Habits(proves=False))
        self.proven = WorkerPool(server.port)
        self._here: WorkerPool | None = None

    async def bring(self, pool: WorkerPool) -> None:
        """Have this pool connected, and only this."""
        if self._here is pool:
            return
        if self._here is not None:
            # An audit may still run; a worker that leaves with it would have that in its record.
            await self._here.log.accepted.reach(self._here.log.assigned.count)
            self._here.leave()
        await pool.come_back()
        self._here = pool
        await asyncio.sleep(_SETTLING)


async def proof_cost(scale: Scale) -> list[Figure]:
    """Measure all cycles."""
    async with coordinator() as server:
        workers = _Workers(server)
        for pool in (workers.unproven, workers.proven):
            await pool.connect(_WORKERS)
            pool.leave()
        outcome = await workers.proven.guard(workers.unproven.guard(_measure(server, workers, scale)))
        await workers.unproven.close()
        await workers.proven.close()
    return _figures(outcome)


async def _measure(server: Server, workers: _Workers, scale: Scale) -> _Outcome:
    seekers = StandingSeekers(server)
    await seekers.connect()
    jobs = 0

    async def load(pool: WorkerPool, length: Seconds, *, countersigned: bool = False) -> Measured:
        nonlocal jobs
        await workers.bring(pool)
        seekers.seeking.countersigned = countersigned
        before = seekers.finished
        measured = await seekers.load(_WARM_UP, length)
        if pool is workers.proven:
            jobs += seekers.finished - before
        return measured

    # Proven workers begin as newcomers, who are not asked to repeat the work of others.
    await load(workers.unproven, _FIRST)
    await load(workers.proven, _FIRST)
    turns: dict[str, Turn] = {
        UNPROVEN: partial(load, workers.unproven, scale.turn),
        PROVEN: partial(load, workers.proven, scale.turn),
        COUNTERSIGNED: partial(load, workers.proven, scale.turn, countersigned=True),
    }
    cycles = await take_turns(turns, scale.proof_pairs, Patience(scale.extra_windows))
    seekers.close()
    return _Outcome(cycles, jobs, workers.proven.log.accepted.count)


def _figures(outcome: _Outcome) -> list[Figure]:
    cycles = outcome.cycles
    return [
        *turn_figures(cycles, (UNPROVEN, PROVEN, COUNTERSIGNED), {PROVEN: TARGET}),
        Figure(
            "results of proven workers for each job of a seeker: the rest are audits",
            f"{outcome.results / outcome.jobs:.4f}",
        ),
        others_figure(cycles),
    ]
