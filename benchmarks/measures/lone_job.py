"""How long one job takes when nothing else is going on: by long poll, and by the SDK."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import msgspec

from benchmarks.errors import BenchmarkError
from benchmarks.figures import Figure, milliseconds, percentile
from benchmarks.load import run_jobs
from benchmarks.load_log import Seconds
from benchmarks.scale import Scale
from benchmarks.sdk_caller import SdkLatencies
from benchmarks.servers import ROOT, Server, baseline, coordinator
from benchmarks.worker_pool import WorkerPool

TARGET_P50: Final = Seconds(0.005)
_WORKERS: Final = 50
_WARM_UP_JOBS: Final = 100
_SDK_TIMEOUT: Final = Seconds(300.0)


async def lone_job(scale: Scale) -> list[Figure]:
    """Jobs one after another, on a system that is idle otherwise."""
    async with baseline() as server:
        pool = WorkerPool(server.port)
        await pool.connect(_WORKERS)
        bare = await pool.guard(_one_by_one(server, scale.lone_jobs))
        await pool.close()
    async with coordinator() as server:
        pool = WorkerPool(server.port)
        await pool.connect(_WORKERS)
        by_long_poll = await pool.guard(_one_by_one(server, scale.lone_jobs))
        by_sdk = await pool.guard(_sdk_latencies(server, scale.lone_jobs))
        await pool.close()
    return [
        *(
            Figure(f"two bare requests, p{percent}", milliseconds(percentile(bare, percent)), "1")
            for percent in (50, 99)
        ),
        _figure("lone job by long poll", by_long_poll, 50, bare, TARGET_P50),
        _figure("lone job by long poll", by_long_poll, 99, bare),
        *(
            _figure("lone job by the blocking SDK (quote, commit, result)", by_sdk.jobs, each, bare)
            for each in (50, 99)
        ),
        *(_figure("of that, the quote", by_sdk.quotes, each, bare) for each in (50, 99)),
    ]


async def _one_by_one(server: Server, jobs: int) -> list[Seconds]:
    ran = await run_jobs(server, seekers=1, each=_WARM_UP_JOBS + jobs)
    ran.log.raise_failures()
    return ran.log.latencies[_WARM_UP_JOBS:]


async def _sdk_latencies(server: Server, jobs: int) -> SdkLatencies:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.sdk_caller",
        f"http://127.0.0.1:{server.port}",
        str(jobs),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SDK_TIMEOUT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise BenchmarkError("The SDK could not run its jobs; what it said is above.")
    return msgspec.json.decode(output, type=SdkLatencies)


def _figure(
    name: str, latencies: list[Seconds], percent: int, bare: list[Seconds], target: Seconds | None = None
) -> Figure:
    latency = percentile(latencies, percent)
    return Figure(
        f"{name}, p{percent}",
        milliseconds(latency),
        f"{latency / percentile(bare, percent):.2f} x two bare requests",
        f"under {milliseconds(target)}" if target else "",
        latency < target if target else None,
    )
