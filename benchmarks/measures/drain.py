"""SIGTERM while every worker is busy: what runs must end well, and nothing else may take time."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from benchmarks.figures import Figure, median, milliseconds
from benchmarks.load import Ran, run_jobs
from benchmarks.load_log import Seconds
from benchmarks.scale import Scale
from benchmarks.servers import Server, coordinator
from benchmarks.simulated_worker import Habits
from benchmarks.worker_pool import WorkerPool

JOBS: Final = 100
WORK: Final = Seconds(0.2)


async def drain(scale: Scale) -> list[Figure]:
    """Measure from the signal, sent when the last job has begun, to the end of the process."""
    took: list[Seconds] = []
    completed = 0
    for _ in range(scale.drains):
        async with coordinator() as server:
            pool = WorkerPool(server.port, Habits(work=WORK))
            await pool.connect(JOBS)
            stopping = asyncio.create_task(_stop_when_all_run(server, pool))
            try:
                ran: Ran = await pool.guard(run_jobs(server, seekers=JOBS, each=1))
                took.append(await stopping)
            finally:
                stopping.cancel()
            ran.log.raise_failures()
            completed += ran.log.finished
            await pool.close()
    name = f"drain with {JOBS} running jobs of {WORK * 1000:.0f} ms"
    return [
        Figure(
            f"{name}: SIGTERM to the end of the process",
            f"{milliseconds(Seconds(median(took)))} (at most {milliseconds(max(took))})",
            f"{median(took) / WORK:.2f} x the work",
        ),
        Figure(
            f"{name}: answered as completed",
            f"{completed} of {JOBS * scale.drains}",
            "",
            "all",
            completed == JOBS * scale.drains,
        ),
    ]


async def _stop_when_all_run(server: Server, pool: WorkerPool) -> Seconds:
    await pool.log.assigned.reach(JOBS)
    began = time.perf_counter()
    pool.log.closing = True
    server.tell_to_stop()
    await server.wait_until_stopped()
    return Seconds(time.perf_counter() - began)
