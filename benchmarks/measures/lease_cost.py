"""What idempotency keys and leases cost, on one coordinator, in windows that take turns.

Other workers hold one long inference each all the while. In the windows with renewal their heartbeats name
it, which is all that renewal is; in the others they send as many heartbeats that name nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from benchmarks.clients import Committer, connect_all
from benchmarks.figures import Figure, median, spread
from benchmarks.load import QUIET_SHARE, Measured, load_jobs, wait_until_ended
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.patience import Patience
from benchmarks.scale import Scale
from benchmarks.servers import Server, coordinator
from benchmarks.simulated_worker import ENDLESS_WORK, Habits
from benchmarks.worker_pool import WorkerPool
from compute_router.protocol.jobs import JobType

TARGET: Final = 0.95
_WORKERS: Final = 50
_COMMITTERS: Final = 10
_SHORT_FOR_LONG: Final = 2
"""Windows here take less than half of the time of others, so there may be twice as many extra ones."""

# The coordinator is warm from the window before.
_WARM_UP: Final = Seconds(0.3)


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
VARIANTS: Final = (PLAIN, KEYS, LEASES, STARTED)

Cycle = dict[str, Measured]
"""One window of each variant, by its name."""


async def lease_cost(scale: Scale) -> list[Figure]:
    """Measure all cycles."""
    # Held jobs never end here, so there is nothing to wait for at the end.
    async with coordinator("--drain-seconds", "0") as server:
        workers = WorkerPool(server.port)
        await workers.connect(_WORKERS)
        holders = WorkerPool(server.port, Habits(job_type=JobType.LLM_INFER, work=ENDLESS_WORK))
        await holders.connect(scale.cost_holders)
        await holders.guard(_hold(server, holders, scale.cost_holders))
        cycles = await holders.guard(_cycles(server, scale, workers, holders))
        await holders.close()
        await workers.close()
    return _figures(cycles, scale)


async def _hold(server: Server, holders: WorkerPool, jobs: int) -> None:
    """Give every holder a job."""
    log = LoadLog(_COMMITTERS)
    makers: list[Callable[[], Committer]] = [
        partial(Committer, log, jobs // _COMMITTERS, f"holder-{number}") for number in range(_COMMITTERS)
    ]
    for committer in await connect_all(server.port, makers):
        committer.start()
    await wait_until_ended(log)
    log.raise_failures()
    await holders.log.assigned.reach(jobs)


async def _cycles(server: Server, scale: Scale, workers: WorkerPool, holders: WorkerPool) -> list[Cycle]:
    # Many short windows: what else disturbs comes in bursts, and then spoils few of them.
    patience = Patience(_SHORT_FOR_LONG * scale.extra_windows)
    cycles: list[Cycle] = []
    for number in range(scale.cost_cycles):
        # Every other cycle goes backwards, so that whatever grows during the run meets all variants alike.
        cycle = {}
        for variant in VARIANTS if number % 2 == 0 else VARIANTS[::-1]:
            workers.habits.says_started = variant.says_started
            holders.habits.renews = variant.renews
            load = load_jobs(server, _WARM_UP, scale.cost_window, patience, keyed=variant.keyed)
            cycle[variant.name] = await workers.guard(load)
        cycles.append(cycle)
        rates = ", ".join(f"{cycle[variant.name].per_second:,.0f}" for variant in VARIANTS)
        print(f"  keys and leases, cycle {number + 1}: {rates} jobs/s", flush=True)
    return cycles


def _figures(cycles: list[Cycle], scale: Scale) -> list[Figure]:
    figures = [_throughput_figure(cycles, variant) for variant in VARIANTS]
    figures += [_processor_figure(cycles, variant) for variant in VARIANTS]
    others = [measured.others_share for cycle in cycles for measured in cycle.values()]
    return [
        *figures,
        Figure(
            "processors taken by anything else in these windows",
            f"{median(others):.1%} (at most {max(others):.1%})",
            f"{scale.cost_holders:,} other workers, each with a long job",
            f"at most {QUIET_SHARE:.0%}, or the figures above say little",
            max(others) <= QUIET_SHARE,
        ),
    ]


def _throughput_figure(cycles: list[Cycle], variant: Variant) -> Figure:
    rates = [cycle[variant.name].per_second for cycle in cycles]
    ratio = median(cycle[variant.name].per_second / cycle[PLAIN.name].per_second for cycle in cycles)
    # A start is a frame and a row written, asked for by nobody but workers of ours: no part of the target.
    targeted = variant in (KEYS, LEASES)
    return Figure(
        f"jobs with {variant.name}",
        f"{median(rates):,.0f} jobs/s ({spread(rates)})",
        "1" if variant is PLAIN else f"{ratio:.3f} x {PLAIN.name}",
        f"at least {TARGET} x" if targeted else "",
        ratio >= TARGET if targeted else None,
    )


def _processor_figure(cycles: list[Cycle], variant: Variant) -> Figure:
    cost = median(cycle[variant.name].cpu_each for cycle in cycles)
    ratio = median(cycle[variant.name].cpu_each / cycle[PLAIN.name].cpu_each for cycle in cycles)
    return Figure(
        f"coordinator's processor time per job with {variant.name}",
        f"{cost * 1e6:,.0f} µs",
        "1" if variant is PLAIN else f"{ratio:.3f} x {PLAIN.name}",
    )
