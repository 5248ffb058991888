"""What idempotency keys and leases cost, on one coordinator, in short windows that take turns.

Other workers hold one long inference each all the while. In the windows with renewal their heartbeats name
it, which is all that renewal is; in the others they send as many heartbeats that name nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from benchmarks.clients import Committer, close_all, connect_all
from benchmarks.figures import Figure
from benchmarks.load import Measured, StandingSeekers, wait_until_ended
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.patience import Patience
from benchmarks.scale import Scale
from benchmarks.servers import Server, coordinator
from benchmarks.simulated_worker import ENDLESS_WORK, Habits
from benchmarks.turns import Cycle, Turn, others_figure, take_turns, turn_figures
from benchmarks.worker_pool import WorkerPool
from compute_router.protocol.jobs import JobType

TARGET: Final = 0.95
_WORKERS: Final = 50
_COMMITTERS: Final = 10
_TARGETED_FOR_STARTED: Final = 4
"""Pairs of cycles of what has a target for one of what has none."""

# The coordinator is warm from the window before; two rounds of jobs are enough for a steady stream.
_WARM_UP: Final = Seconds(0.06)


class Variant(msgspec.Struct, frozen=True):
    """What seekers and workers do in a window."""

    name: str
    keyed: bool = False
    renews: bool = False
    says_started: bool = False


PLAIN: Final = Variant("neither keys nor renewal")
KEYS: Final = Variant("a key on every commit", keyed=True)
LEASES: Final = Variant("keys and renewing heartbeats", keyed=True, renews=True)
STARTED: Final = Variant(
    "keys, renewing heartbeats and job_started", keyed=True, renews=True, says_started=True
)


class Rounds(msgspec.Struct, frozen=True):
    """Cycles of what has a target, and those of what has none."""

    targeted: list[Cycle]
    started: list[Cycle]


async def lease_cost(scale: Scale) -> list[Figure]:
    """Measure all cycles."""
    # Held jobs never end here, so there is nothing to wait for at the end.
    async with coordinator("--drain-seconds", "0") as server:
        workers = WorkerPool(server.port)
        await workers.connect(_WORKERS)
        holders = WorkerPool(server.port, Habits(job_type=JobType.LLM_INFER, work=ENDLESS_WORK))
        await holders.connect(scale.cost_holders)
        await holders.guard(_hold(server, holders, scale.cost_holders))
        rounds = await holders.guard(workers.guard(_rounds(server, scale, workers, holders)))
        await holders.close()
        await workers.close()
    return _figures(rounds, scale)


async def _hold(server: Server, holders: WorkerPool, jobs: int) -> None:
    """Give every holder a job."""
    log = LoadLog(_COMMITTERS)
    makers: list[Callable[[], Committer]] = [
        partial(Committer, log, jobs // _COMMITTERS, f"holder-{number}") for number in range(_COMMITTERS)
    ]
    committers = await connect_all(server.port, makers)
    for committer in committers:
        committer.start()
    await wait_until_ended(log)
    log.raise_failures()
    close_all(committers)
    await holders.log.assigned.reach(jobs)


async def _rounds(server: Server, scale: Scale, workers: WorkerPool, holders: WorkerPool) -> Rounds:
    patience = Patience(scale.extra_windows)
    seekers = StandingSeekers(server)
    await seekers.connect()

    async def turn(variant: Variant) -> Measured:
        seekers.seeking.keyed = variant.keyed
        workers.habits.says_started = variant.says_started
        holders.habits.renews = variant.renews
        return await seekers.load(_WARM_UP, scale.turn)

    def turns(*variants: Variant) -> dict[str, Turn]:
        return {variant.name: partial(turn, variant) for variant in variants}

    await seekers.load(scale.warm_up, scale.turn)
    # Those with a target are both next to what they are compared with.
    targeted = await take_turns(turns(KEYS, PLAIN, LEASES), scale.cost_pairs, patience)
    started = await take_turns(
        turns(PLAIN, STARTED), max(1, scale.cost_pairs // _TARGETED_FOR_STARTED), patience
    )
    seekers.close()
    return Rounds(targeted, started)


def _figures(rounds: Rounds, scale: Scale) -> list[Figure]:
    names = [variant.name for variant in (PLAIN, KEYS, LEASES)]
    return [
        *turn_figures(rounds.targeted, names, {KEYS.name: TARGET, LEASES.name: TARGET}),
        # A start is a frame and a row written, which nobody asks for: no part of the target.
        *turn_figures(rounds.started, [PLAIN.name, STARTED.name], {})[1::2],
        others_figure(
            [*rounds.targeted, *rounds.started],
            f"{scale.cost_holders:,} other workers, each with a long job",
        ),
    ]
