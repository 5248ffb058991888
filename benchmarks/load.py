"""Put a closed loop of clients on a server for a while, and say what it did and what it cost."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import psutil

from benchmarks.clients import ClosedLoopClient, HelloClient, Seeker, connect_all
from benchmarks.errors import BenchmarkError
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.servers import Server

CLIENTS: Final = 64
_STOP_TIMEOUT: Final = Seconds(60.0)


class Measured(msgspec.Struct, frozen=True):
    """One window: exchanges that ended in it, and the processor time of server and generator."""

    length: Seconds
    latencies: list[Seconds]
    server_cpu: Seconds
    generator_cpu: Seconds

    @property
    def per_second(self) -> float:
        """Exchanges a second."""
        return len(self.latencies) / self.length

    @property
    def cpu_each(self) -> Seconds:
        """The server's processor time for one exchange."""
        return Seconds(self.server_cpu / len(self.latencies))

    @property
    def generator_cpu_each(self) -> Seconds:
        """This process's processor time for one exchange."""
        return Seconds(self.generator_cpu / len(self.latencies))


async def load_hello(server: Server, warm_up: Seconds, window: Seconds) -> Measured:
    """Hello-world from all clients at once."""
    return await _load(server, partial(_hello_clients, CLIENTS), warm_up, window)


async def load_jobs(server: Server, warm_up: Seconds, window: Seconds) -> Measured:
    """Jobs from all seekers at once, each with a user of its own. Workers must be connected."""
    return await _load(server, partial(_seekers, CLIENTS), warm_up, window)


async def run_jobs(server: Server, seekers: int, each: int) -> LoadLog:
    """So many seekers start at the same moment and run so many jobs each; returns when all have ended."""
    log = LoadLog(seekers)
    clients = await connect_all(server.port, _seekers(seekers, log, each))
    for client in clients:
        client.start()
    await _wait_until_ended(log)
    return log


def _hello_clients(count: int, log: LoadLog) -> list[Callable[[], ClosedLoopClient]]:
    return [partial(HelloClient, log, None)] * count


def _seekers(count: int, log: LoadLog, repeats: int | None = None) -> list[Callable[[], ClosedLoopClient]]:
    return [partial(Seeker, log, repeats, f"seeker-{index:02}") for index in range(count)]


async def _load(
    server: Server,
    makers: Callable[[LoadLog], list[Callable[[], ClosedLoopClient]]],
    warm_up: Seconds,
    window: Seconds,
) -> Measured:
    log = LoadLog(CLIENTS)
    clients = await connect_all(server.port, makers(log))
    generator = psutil.Process()
    # The collector would stop the generator to look at thousands of connections that do not change.
    gc.collect()
    gc.freeze()
    for client in clients:
        client.start()
    await asyncio.sleep(warm_up)
    first, started = log.finished, time.perf_counter()
    server_before, generator_before = server.cpu(), generator.cpu_times()
    await asyncio.sleep(window)
    last, length = log.finished, Seconds(time.perf_counter() - started)
    server_after, generator_after = server.cpu(), generator.cpu_times()
    log.stopping = True
    await _wait_until_ended(log)
    gc.unfreeze()
    log.raise_failures()
    return Measured(
        length=length,
        latencies=log.latencies[first:last],
        server_cpu=Seconds(server_after - server_before),
        generator_cpu=Seconds(
            generator_after.user + generator_after.system - generator_before.user - generator_before.system
        ),
    )


async def _wait_until_ended(log: LoadLog) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await log.ended.wait()
    except TimeoutError:
        raise BenchmarkError("The server left clients without an answer.") from None
