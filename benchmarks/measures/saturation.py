"""Many jobs at once on few workers: the coordinator must keep every worker busy until the last job."""

from __future__ import annotations

from statistics import mean
from typing import Final

from benchmarks.figures import Figure, median, spread
from benchmarks.load import run_jobs
from benchmarks.load_log import Seconds
from benchmarks.scale import Scale
from benchmarks.servers import coordinator
from benchmarks.simulated_worker import Habits
from benchmarks.worker_pool import WorkerPool

JOBS: Final = 500
WORKERS: Final = 10
WORK: Final = Seconds(0.1)
IDEAL: Final = Seconds(JOBS * WORK / WORKERS)
TARGET: Final = Seconds(5.3)


async def saturation(scale: Scale) -> list[Figure]:
    """Measure from the first commit to the last result."""
    took = []
    held: list[Seconds] = []
    failed = 0
    for _ in range(scale.saturation_rounds):
        async with coordinator() as server:
            pool = WorkerPool(server.port, Habits(work=WORK))
            await pool.connect(WORKERS)
            ran = await pool.guard(run_jobs(server, seekers=JOBS, each=1))
            took.append(ran.took)
            held += pool.log.held
            failed += ran.log.failed
            await pool.close()
    name = f"{JOBS} jobs at once on {WORKERS} workers of {WORK * 1000:.0f} ms"
    return [
        Figure(
            name,
            f"{median(took):.2f} s ({spread(took)})",
            f"{median(took) / IDEAL:.3f} x ideal {IDEAL:.0f} s",
            f"at most {TARGET} s",
            median(took) <= TARGET,
        ),
        Figure(
            f"{name}: time a worker really took for one",
            f"{mean(held) * 1000:.1f} ms",
            f"{mean(held) / WORK:.3f} x asked",
        ),
        Figure(f"{name}: failed", f"{failed}", "", "0", failed == 0),
    ]
