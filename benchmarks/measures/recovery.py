"""A start on a database full of pending jobs, against one on an empty database."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.figures import Figure, median, spread
from benchmarks.load_log import Seconds
from benchmarks.scale import Scale
from benchmarks.servers import ROOT, coordinator
from benchmarks.worker_pool import WorkerPool

_WORKERS: Final = 50
_FIRST_JOBS: Final = 1_000
_TIMEOUT: Final = Seconds(120.0)
# Jobs that the last workers held when they left are of no interest to the next start.
_NO_DRAIN: Final = ("--drain-seconds", "0")


async def recovery(scale: Scale) -> list[Figure]:
    """Measure starts; workers that come right after each one run its first jobs."""
    empty, full, first_jobs = [], [], []
    with tempfile.TemporaryDirectory(prefix="compute-router-benchmark-") as directory:
        database = Path(directory) / "benchmark.db"
        await _fill(database, scale.recovered_jobs)
        for start in range(scale.recovery_starts):
            async with coordinator() as server:
                empty.append(server.started_in)
            async with coordinator(*_NO_DRAIN, "--log-level", "info", database=database) as server:
                if start == 0 and _took_up(scale.recovered_jobs) not in server.last_lines():
                    raise BenchmarkError("The coordinator did not take up all jobs.")
                full.append(server.started_in)
                first_jobs.append(await _first_jobs(server.port))
    return _figures(scale, empty, full, first_jobs)


def _took_up(jobs: int) -> str:
    return f"took up {jobs} unfinished jobs"


async def _fill(database: Path, jobs: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.pending_jobs", str(database), str(jobs), cwd=ROOT
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        raise BenchmarkError("The database could not be filled; why is said above.")


async def _first_jobs(port: int) -> Seconds:
    """Time from now until workers that connect now have run the first jobs."""
    began = time.perf_counter()
    pool = WorkerPool(port)

    async def run() -> None:
        await pool.connect(_WORKERS)
        await pool.log.accepted.reach(_FIRST_JOBS)

    try:
        async with asyncio.timeout(_TIMEOUT):
            await pool.guard(run())
    except TimeoutError:
        raise BenchmarkError("The jobs of the last run were not given out.") from None
    took = Seconds(time.perf_counter() - began)
    await pool.close()
    return took


def _figures(
    scale: Scale, empty: list[Seconds], full: list[Seconds], first_jobs: list[Seconds]
) -> list[Figure]:
    count = f"{scale.recovered_jobs:,}"
    extra = median(full) - median(empty)
    return [
        Figure("start on an empty database", f"{median(empty):.2f} s ({spread(empty)})", "1"),
        Figure(
            f"start with {count} pending jobs",
            f"{median(full):.2f} s ({spread(full)})",
            f"{extra:.2f} s more",
        ),
        Figure("recovery of pending jobs", f"{scale.recovered_jobs / extra:,.0f} jobs/s"),
        Figure(
            f"then: {_WORKERS} workers connect and run the first {_FIRST_JOBS:,} of these jobs",
            f"{median(first_jobs):.2f} s ({spread(first_jobs)})",
        ),
    ]
