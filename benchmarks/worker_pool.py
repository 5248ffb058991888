"""Any number of simulated workers on one server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from benchmarks.errors import BenchmarkError
from benchmarks.load_log import Seconds
from benchmarks.simulated_worker import Habits, SimulatedWorker
from benchmarks.worker_log import WorkerLog

HEARTBEAT_INTERVAL: Final = Seconds(10.0)
_TICK: Final = Seconds(0.02)
_CONNECT_TIMEOUT: Final = Seconds(120.0)
_CONNECTING_AT_ONCE: Final = 32
# One client address has 28,000 ports, some of them still blocked by the round before.
_SOURCE_ADDRESSES: Final = tuple(f"127.0.0.{last}" for last in range(2, 10))

Result = TypeVar("Result")


class WorkerPool:
    """Workers of one server, kept alive by heartbeats that are spread evenly."""

    def __init__(self, port: int, habits: Habits | None = None) -> None:
        self.habits = habits or Habits()
        self.log = WorkerLog()
        self._port = port
        self._workers: list[SimulatedWorker] = []
        self._beating: asyncio.Task[None] | None = None

    async def connect(self, count: int) -> None:
        """Connect and register so many more workers; they are ready for jobs when this returns.

        Raises:
            BenchmarkError: a worker was refused, or they were not all registered in time.
        """
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())

        async def connect_one(worker: SimulatedWorker, source_address: str) -> None:
            await worker.connect(self._port, source_address)
            self._workers.append(worker)

        await self._let_all_in([SimulatedWorker(self.habits, self.log) for _ in range(count)], connect_one)

    def leave(self) -> None:
        """All workers drop their connections."""
        for worker in self._workers:
            worker.drop()

    async def come_back(self) -> None:
        """All workers that left connect again.

        Raises:
            BenchmarkError: as of :meth:`connect`.
        """
        await self._let_all_in(self._workers, lambda worker, address: worker.connect(self._port, address))

    async def restart(self, share: float) -> None:
        """This share of the workers drop their connections at the same moment, and all come back at once.

        Raises:
            BenchmarkError: a worker was refused, or they were not all back in time.
        """
        leaving = self._workers[: round(len(self._workers) * share)]
        for worker in leaving:
            worker.drop()
        await self._let_all_in(leaving, lambda worker, address: worker.connect(self._port, address))

    async def close(self) -> None:
        """Disconnect all workers."""
        self.log.closing = True
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        self.leave()

    async def guard(self, load: Coroutine[Any, Any, Result]) -> Result:
        """Run a load on the server, but give it up as soon as a worker fails.

        Raises:
            BenchmarkError: something failed.
        """
        running = asyncio.create_task(load)
        failing = asyncio.create_task(self.log.failed.wait())
        await asyncio.wait((running, failing), return_when=asyncio.FIRST_COMPLETED)
        failing.cancel()
        if self.log.failed.is_set():
            running.cancel()
            await asyncio.wait((running,))
        self.log.raise_failures()
        return await running

    async def _let_all_in(
        self,
        workers: Sequence[SimulatedWorker],
        connect_one: Callable[[SimulatedWorker, str], Awaitable[None]],
    ) -> None:
        waiting = iter(enumerate(workers))

        async def connect_some() -> None:
            for index, worker in waiting:
                await connect_one(worker, _SOURCE_ADDRESSES[index % len(_SOURCE_ADDRESSES)])

        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT), asyncio.TaskGroup() as group:
                for _ in range(min(_CONNECTING_AT_ONCE, len(workers))):
                    group.create_task(connect_some())
        except TimeoutError:
            raise BenchmarkError("Not all workers were let in in time.") from None
        except ExceptionGroup:
            # What a worker said of its failure is clearer than that its connecting failed.
            self.log.raise_failures()
            raise
        self.log.raise_failures()

    async def _beat(self) -> None:
        """In every tick send the share of the heartbeats that is due, going round the workers."""
        due = 0.0
        next_worker = 0
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK)
            now = time.perf_counter()
            due += (now - last) * len(self._workers) / HEARTBEAT_INTERVAL
            last = now
            while due >= 1.0:
                due -= 1.0
                next_worker = (next_worker + 1) % len(self._workers)
                self._workers[next_worker].beat()
