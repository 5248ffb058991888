"""Latency of jobs while half of the workers lose their connections at once and come back.

Both runs are a fixed number of jobs, and all of them count, so a job that is stuck cannot fall out of a
window.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from benchmarks.figures import Figure, median, milliseconds, percentile
from benchmarks.load import CLIENTS, run_jobs
from benchmarks.load_log import Seconds
from benchmarks.scale import Scale
from benchmarks.servers import Server, coordinator
from benchmarks.simulated_worker import Habits
from benchmarks.worker_pool import WorkerPool

WORKERS: Final = 1_000
SHARE: Final = 0.5
WORK: Final = Seconds(0.1)
_WARM_UP_EACH: Final = 5


class Round(msgspec.Struct, frozen=True):
    """Latencies of the same load without and with the loss, and how long it took until all were back."""

    undisturbed: list[Seconds]
    disturbed: list[Seconds]
    back_in: Seconds
    failed: int
    failures: list[str]


async def reconnect(scale: Scale) -> list[Figure]:
    """Measure all rounds."""
    rounds = []
    for number in range(scale.reconnect_rounds):
        async with coordinator() as server:
            pool = WorkerPool(server.port, Habits(work=WORK))
            await pool.connect(WORKERS)
            rounds.append(await pool.guard(_round(server, pool, scale.reconnect_jobs_each)))
            await pool.close()
        print(
            f"  reconnect, round {number + 1}: all back in {rounds[-1].back_in:.2f} s",
            *rounds[-1].failures,
            sep="\n    ",
            flush=True,
        )
    return _figures(rounds)


async def _round(server: Server, pool: WorkerPool, each: int) -> Round:
    warm_up = await run_jobs(server, CLIENTS, _WARM_UP_EACH)
    warm_up.log.raise_failures()
    undisturbed = await run_jobs(server, CLIENTS, each)
    undisturbed.log.raise_failures()
    restarting = asyncio.create_task(_restart_in_the_middle(pool, CLIENTS * each))
    try:
        disturbed = await run_jobs(server, CLIENTS, each)
        back_in = await restarting
    finally:
        restarting.cancel()
    return Round(
        undisturbed.log.latencies,
        disturbed.log.latencies,
        back_in,
        disturbed.log.failed,
        disturbed.log.reasons,
    )


async def _restart_in_the_middle(pool: WorkerPool, jobs: int) -> Seconds:
    await pool.log.accepted.reach(pool.log.accepted.count + jobs // 3)
    began = time.perf_counter()
    await pool.restart(SHARE)
    return Seconds(time.perf_counter() - began)


def _figures(rounds: list[Round]) -> list[Figure]:
    load = f"{CLIENTS} seekers, {WORKERS:,} workers of {WORK * 1000:.0f} ms"
    half = f"{round(WORKERS * SHARE)} of {WORKERS:,} workers drop and reconnect"
    failed = sum(each.failed for each in rounds)
    figures = []
    for percent in (50, 99):
        before = median(percentile(each.undisturbed, percent) for each in rounds)
        during = median(percentile(each.disturbed, percent) for each in rounds)
        figures += [
            Figure(f"latency, {load}, p{percent}", milliseconds(Seconds(before)), "1"),
            Figure(
                f"the same while {half}, p{percent}",
                milliseconds(Seconds(during)),
                f"{during / before:.2f} x without",
            ),
        ]
    slowest = max(max(each.disturbed) for each in rounds)
    back_in = [each.back_in for each in rounds]
    return [
        *figures,
        Figure(f"{half}: slowest job", milliseconds(slowest)),
        Figure(f"{half}: all back in", f"{median(back_in):.2f} s"),
        Figure(f"{half}: failed jobs", f"{failed}", "", "0", failed == 0),
    ]
