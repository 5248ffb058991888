"""What one more connected worker costs in memory while it has nothing to do."""

from __future__ import annotations

import asyncio
from typing import Final

from benchmarks.figures import Figure
from benchmarks.scale import Scale
from benchmarks.servers import Server, baseline, coordinator
from benchmarks.worker_pool import HEARTBEAT_INTERVAL, WorkerPool

_FIRST_WORKERS: Final = 50


async def memory(scale: Scale) -> list[Figure]:
    """Memory for each connected worker, against a bare Tornado WebSocket."""
    async with baseline() as server:
        bare = await _bytes_per_worker(server, scale.memory_workers)
    async with coordinator() as server:
        ours = await _bytes_per_worker(server, scale.memory_workers)
    return [
        Figure(f"memory of a bare Tornado WebSocket, {scale.memory_workers:,} open", _kib(bare), "1"),
        Figure(
            f"memory per connected idle worker, {scale.memory_workers:,} connected",
            _kib(ours),
            f"{ours / bare:.2f} x bare WebSocket",
        ),
    ]


async def _bytes_per_worker(server: Server, workers: int) -> float:
    pool = WorkerPool(server.port)
    # The first ones pay for what is made once, and are not counted.
    await pool.connect(_FIRST_WORKERS)
    before = server.resident_bytes()
    await pool.connect(workers)
    # Two rounds of heartbeats, so that every worker was heard and buffers have the size they keep.
    await asyncio.sleep(2 * HEARTBEAT_INTERVAL)
    after = server.resident_bytes()
    pool.log.raise_failures()
    await pool.close()
    return (after - before) / workers


def _kib(size: float) -> str:
    return f"{size / 1024:.1f} KiB"
