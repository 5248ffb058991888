"""Put a closed loop of clients on a server for a while, and say what it did and what it cost."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import msgspec
import psutil

from benchmarks.clients import Browser, ClosedLoopClient, HelloClient, Seeker, Seeking, close_all, connect_all
from benchmarks.errors import BenchmarkError
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.patience import Patience
from benchmarks.servers import Server

CLIENTS: Final = 64
QUIET_SHARE: Final = 0.05
"""As much of the processors may go to anything else in a window that counts as undisturbed."""

_PROCESSORS: Final = len(psutil.cpu_times(percpu=True))
_MAX_TRIES: Final = 4
_STOP_TIMEOUT: Final = Seconds(60.0)


class Measured(msgspec.Struct, frozen=True):
    """One window: exchanges that ended in it, and the processor time that was spent in it.

    ``others_cpu`` is what neither the servers nor this process used but something else on the machine; it is
    rounded, and may come out a little below zero. Kernel time that belongs to no process is not in it.
    """

    length: Seconds
    latencies: list[Seconds]
    server_cpu: Seconds
    generator_cpu: Seconds
    others_cpu: Seconds

    @property
    def per_second(self) -> float:
        """Exchanges a second."""
        return len(self.latencies) / self.length

    @property
    def cpu_each(self) -> Seconds:
        """The server's processor time for one exchange."""
        return Seconds(self.server_cpu / len(self.latencies))

    @property
    def others_share(self) -> float:
        """The part of all processors that something else used."""
        return max(0.0, self.others_cpu / (self.length * _PROCESSORS))

    @property
    def generator_cpu_each(self) -> Seconds:
        """This process's processor time for one exchange."""
        return Seconds(self.generator_cpu / len(self.latencies))


def joined(windows: Iterable[Measured]) -> Measured:
    """Several windows as if they had been one."""
    each = list(windows)
    return Measured(
        length=Seconds(sum(window.length for window in each)),
        latencies=[latency for window in each for latency in window.latencies],
        server_cpu=Seconds(sum(window.server_cpu for window in each)),
        generator_cpu=Seconds(sum(window.generator_cpu for window in each)),
        others_cpu=Seconds(sum(window.others_cpu for window in each)),
    )


async def load_hello(server: Server, warm_up: Seconds, window: Seconds, patience: Patience) -> Measured:
    """Hello-world from all clients at once."""
    return await _quietest(server, _hello_clients, warm_up, window, patience)


async def load_offers(server: Server, warm_up: Seconds, window: Seconds, patience: Patience) -> Measured:
    """Commits without a payment from all clients at once, to a coordinator that wants one."""
    return await _quietest(server, _browsers, warm_up, window, patience)


async def load_jobs(server: Server, warm_up: Seconds, window: Seconds, patience: Patience) -> Measured:
    """Jobs from all seekers at once, each with a user of its own. Workers must be connected."""
    return await _quietest(server, partial(_seekers, CLIENTS), warm_up, window, patience)


class StandingSeekers:
    """All seekers of one server, for many short windows: between these they rest, but stay connected.

    What ``seeking`` says may change from window to window. ``finished`` counts all jobs, also those before
    and after the times that were taken.
    """

    def __init__(self, server: Server, beside: Sequence[Server] = ()) -> None:
        """``beside`` are servers that the first one needs: what they use is not what disturbs it."""
        self.seeking = Seeking()
        self.finished = 0
        self._server = server
        self._beside = beside
        self._seekers: list[Seeker] = []

    async def connect(
        self,
        api_keys: Sequence[str] | None = None,
        pays: Sequence[Callable[[], bytes]] | None = None,
    ) -> None:
        """Open the connections.

        ``api_keys`` has a key for the user of each seeker, and ``pays`` what each seeker pays with.
        """
        keys: Sequence[str | None] = api_keys or [None] * CLIENTS
        payments: Sequence[Callable[[], bytes] | None] = pays or [None] * CLIENTS
        unused = LoadLog(CLIENTS)
        makers: list[Callable[[], Seeker]] = [
            partial(Seeker, unused, None, seeker_name(index), self.seeking, keys[index], payments[index])
            for index in range(CLIENTS)
        ]
        self._seekers = await connect_all(self._server.port, makers)
        gc.collect()
        gc.freeze()

    async def load(self, warm_up: Seconds, window: Seconds) -> Measured:
        """One window, with whatever disturbs it."""
        log = LoadLog(CLIENTS)
        for seeker in self._seekers:
            seeker.start_again(log)
        measured = await _watch(self._server, log, warm_up, window, self._beside)
        self.finished += log.finished
        return measured

    def close(self) -> None:
        """Close the connections."""
        gc.unfreeze()
        for seeker in self._seekers:
            seeker.close()


def seeker_name(index: int) -> str:
    """The user id of a seeker."""
    return f"seeker-{index:02}"


class Ran(msgspec.Struct, frozen=True):
    """A fixed number of jobs. ``took`` is from the first commit to the last result, without connecting."""

    took: Seconds
    log: LoadLog


async def run_jobs(
    server: Server, seekers: int, each: int, pays: Sequence[Callable[[], bytes]] | None = None
) -> Ran:
    """So many seekers start at the same moment and run so many jobs each; returns when all have ended.

    ``pays`` is what each seeker pays with.
    """
    log = LoadLog(seekers)
    clients = await connect_all(server.port, _seekers(seekers, log, each, pays))
    started = time.perf_counter()
    for client in clients:
        client.start()
    await wait_until_ended(log)
    close_all(clients)
    return Ran(Seconds(log.ended_at - started), log)


def _hello_clients(log: LoadLog) -> list[Callable[[], ClosedLoopClient]]:
    return [partial(HelloClient, log, None)] * CLIENTS


def _browsers(log: LoadLog) -> list[Callable[[], ClosedLoopClient]]:
    return [partial(Browser, log, None, seeker_name(index)) for index in range(CLIENTS)]


def _seekers(
    count: int,
    log: LoadLog,
    repeats: int | None = None,
    pays: Sequence[Callable[[], bytes]] | None = None,
) -> list[Callable[[], ClosedLoopClient]]:
    payments: Sequence[Callable[[], bytes] | None] = pays or [None] * count
    return [partial(Seeker, log, repeats, seeker_name(index), pays=payments[index]) for index in range(count)]


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
    measured = await _watch(server, log, warm_up, window)
    gc.unfreeze()
    close_all(clients)
    return measured


async def _watch(
    server: Server, log: LoadLog, warm_up: Seconds, window: Seconds, beside: Sequence[Server] = ()
) -> Measured:
    """Take the times of a load that has started, and end it."""
    await asyncio.sleep(warm_up)
    first, before = log.finished, _Snapshot.take(server, beside)
    await asyncio.sleep(window)
    last, after = log.finished, _Snapshot.take(server, beside)
    log.stopping = True
    await wait_until_ended(log)
    log.raise_failures()
    return after.measured_since(before, log.latencies[first:last])


class _Snapshot(msgspec.Struct, frozen=True):
    """Clock and processor times at one moment."""

    at: float
    server: Seconds
    generator: Seconds
    beside: Seconds
    machine: Seconds

    @classmethod
    def take(cls, server: Server, beside: Sequence[Server]) -> _Snapshot:
        generator, machine = psutil.Process().cpu_times(), psutil.cpu_times()
        return cls(
            at=time.perf_counter(),
            server=server.cpu(),
            generator=Seconds(generator.user + generator.system),
            beside=Seconds(sum(each.cpu() for each in beside)),
            # Steal is what other guests took of the host; only Linux tells.
            machine=Seconds(machine.user + machine.nice + machine.system + getattr(machine, "steal", 0.0)),
        )

    def measured_since(self, before: _Snapshot, latencies: list[Seconds]) -> Measured:
        length = self.at - before.at
        server, generator = self.server - before.server, self.generator - before.generator
        others = (self.machine - before.machine) - server - generator - (self.beside - before.beside)
        return Measured(
            length=Seconds(length),
            latencies=latencies,
            server_cpu=Seconds(server),
            generator_cpu=Seconds(generator),
            others_cpu=Seconds(others),
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
