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

from benchmarks.clients import ClosedLoopClient, HelloClient, KeyedSeeker, Seeker, connect_all
from benchmarks.errors import BenchmarkError
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.patience import Patience
from benchmarks.servers import Server

CLIENTS: Final = 64
QUIET_SHARE: Final = 0.05
"""As much of the processors may go to anything else in a window that counts as undisturbed."""

_MAX_TRIES: Final = 4
_STOP_TIMEOUT: Final = Seconds(60.0)


class Measured(msgspec.Struct, frozen=True):
    """One window: exchanges that ended in it, and the processor time that was spent in it.

    ``others_share`` is the part of all processors that neither the server nor this process used but
    something else on the machine. Kernel time that belongs to no process is not in it.
    """

    length: Seconds
    latencies: list[Seconds]
    server_cpu: Seconds
    generator_cpu: Seconds
    others_share: float

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


async def load_hello(server: Server, warm_up: Seconds, window: Seconds, patience: Patience) -> Measured:
    """Hello-world from all clients at once."""
    return await _quietest(server, _hello_clients, warm_up, window, patience)


async def load_jobs(
    server: Server, warm_up: Seconds, window: Seconds, patience: Patience, *, keyed: bool = False
) -> Measured:
    """Jobs from all seekers at once, each with a user of its own. Workers must be connected.

    With ``keyed`` every commit has a fresh idempotency key.
    """
    kind = KeyedSeeker if keyed else Seeker
    return await _quietest(server, partial(_seekers, CLIENTS, kind), warm_up, window, patience)


class Ran(msgspec.Struct, frozen=True):
    """A fixed number of jobs. ``took`` is from the first commit to the last result, without connecting."""

    took: Seconds
    log: LoadLog


async def run_jobs(server: Server, seekers: int, each: int) -> Ran:
    """So many seekers start at the same moment and run so many jobs each; returns when all have ended."""
    log = LoadLog(seekers)
    clients = await connect_all(server.port, _seekers(seekers, Seeker, log, each))
    started = time.perf_counter()
    for client in clients:
        client.start()
    await wait_until_ended(log)
    return Ran(Seconds(log.ended_at - started), log)


def _hello_clients(log: LoadLog) -> list[Callable[[], ClosedLoopClient]]:
    return [partial(HelloClient, log, None)] * CLIENTS


def _seekers(
    count: int, kind: type[Seeker], log: LoadLog, repeats: int | None = None
) -> list[Callable[[], ClosedLoopClient]]:
    return [partial(kind, log, repeats, f"seeker-{index:02}") for index in range(count)]


Makers = Callable[[LoadLog], list[Callable[[], ClosedLoopClient]]]


async def _quietest(
    server: Server, makers: Makers, warm_up: Seconds, window: Seconds, patience: Patience
) -> Measured:
    """Measure again, a few times, while something else disturbs; the least disturbed window counts.

    The choice looks at the rest of the machine only, never at the result.
    """
    tries = [await _load(server, makers, warm_up, window)]
    while tries[-1].others_share > QUIET_SHARE and len(tries) < _MAX_TRIES and patience.spend():
        tries.append(await _load(server, makers, warm_up, window))
    return min(tries, key=lambda measured: measured.others_share)


async def _load(
    server: Server,
    makers: Makers,
    warm_up: Seconds,
    window: Seconds,
) -> Measured:
    log = LoadLog(CLIENTS)
    clients = await connect_all(server.port, makers(log))
    # The collector would stop the generator to look at thousands of connections that do not change.
    gc.collect()
    gc.freeze()
    for client in clients:
        client.start()
    await asyncio.sleep(warm_up)
    first, before = log.finished, _Snapshot.take(server)
    await asyncio.sleep(window)
    last, after = log.finished, _Snapshot.take(server)
    log.stopping = True
    await wait_until_ended(log)
    gc.unfreeze()
    log.raise_failures()
    return after.measured_since(before, log.latencies[first:last])


class _Snapshot(msgspec.Struct, frozen=True):
    """Clock and processor times at one moment."""

    at: float
    server: Seconds
    generator: Seconds
    machine: Seconds

    @classmethod
    def take(cls, server: Server) -> _Snapshot:
        generator, machine = psutil.Process().cpu_times(), psutil.cpu_times()
        return cls(
            at=time.perf_counter(),
            server=server.cpu(),
            generator=Seconds(generator.user + generator.system),
            # Steal is what other guests took of the host; only Linux tells.
            machine=Seconds(machine.user + machine.nice + machine.system + getattr(machine, "steal", 0.0)),
        )

    def measured_since(self, before: _Snapshot, latencies: list[Seconds]) -> Measured:
        length = self.at - before.at
        server, generator = self.server - before.server, self.generator - before.generator
        others = (self.machine - before.machine) - server - generator
        return Measured(
            length=Seconds(length),
            latencies=latencies,
            server_cpu=Seconds(server),
            generator_cpu=Seconds(generator),
            others_share=max(0.0, others / (length * len(psutil.cpu_times(percpu=True)))),
        )


async def wait_until_ended(log: LoadLog) -> None:
    """Wait until no client sends any more.

    Raises:
        BenchmarkError: that took too long.
    """
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await log.ended.wait()
    except TimeoutError:
        raise BenchmarkError("The server left clients without an answer.") from None
