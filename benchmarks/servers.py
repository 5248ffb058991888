"""Start a server process, wait until it listens, look at what it uses, stop it."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.errors import BenchmarkError
from benchmarks.load_log import Seconds
from compute_router.protocol.networks import Chain

ROOT: Final = Path(__file__).resolve().parent.parent
_LISTENING: Final = re.compile(rb"listening on http://[^:]+:(\d+)")
_START_TIMEOUT: Final = Seconds(60.0)
_STOP_TIMEOUT: Final = Seconds(60.0)
_TAIL_LINES: Final = 20

PAY_TO: Final = {
    Chain.MONAD: "0x1111111111111111111111111111111111111111",
    Chain.SOLANA: "4fYNw3dojWmQ4dXtSGE9epjRGy9pFSx62YypT7avPYvA",
}
"""Accounts that nobody has a key of."""


class Server:
    """A running server process, seen from outside.

    ``started_in`` is the time from the start of the process to the line that says that it listens.
    """

    def __init__(self, process: asyncio.subprocess.Process, started_at: float) -> None:
        self.port = 0
        self.started_in = Seconds(0.0)
        self._started_at = started_at
        self.pid = process.pid
        self._process = process
        self._usage = psutil.Process(process.pid)
        self._listening = asyncio.Event()
        self._told_to_stop = False
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._reading = asyncio.create_task(self._read())

    def cpu(self) -> Seconds:
        """Processor time used so far, in user and system mode, by all threads."""
        times = self._usage.cpu_times()
        return Seconds(times.user + times.system)

    def resident_bytes(self) -> int:
        """Memory that is in RAM now."""
        return int(self._usage.memory_info().rss)

    def last_lines(self) -> str:
        """What the process printed last, for finding out what went wrong."""
        return "The server's last lines:\n" + b"".join(self._tail).decode(errors="replace")

    async def wait_until_listening(self) -> None:
        """Wait for the line that names the port.

        Raises:
            BenchmarkError: the process ended first, or took too long.
        """
        listening = asyncio.create_task(self._listening.wait())
        await asyncio.wait(
            (listening, self._reading), timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
        )
        listening.cancel()
        if not self.port:
            raise BenchmarkError("A server did not start.")

    async def stop(self) -> None:
        """Stop the process cleanly.

        Raises:
            BenchmarkError: it did not end in time, or ended with an error.
        """
        self.tell_to_stop()
        await self.wait_until_stopped()

    def tell_to_stop(self) -> None:
        """Send SIGTERM, unless the process has ended."""
        if self._process.returncode is None and not self._told_to_stop:
            self._told_to_stop = True
            self._process.send_signal(signal.SIGTERM)

    async def wait_until_stopped(self) -> None:
        """Wait for the end of a process that was told to stop.

        Raises:
            BenchmarkError: it did not end in time, or ended with an error.
        """
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                code = await self._process.wait()
        except TimeoutError:
            await self.kill()
            raise BenchmarkError(f"A server did not stop. {self.last_lines()}") from None
        await self._reading
        if code != 0:
            raise BenchmarkError(f"A server ended with exit code {code}. {self.last_lines()}")

    async def kill(self) -> None:
        """End the process at once, for example when the benchmark itself failed."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._tail.append(line)
            if not self.port and (found := _LISTENING.search(line)):
                self.started_in = Seconds(time.perf_counter() - self._started_at)
                self.port = int(found[1])
                self._listening.set()


@asynccontextmanager
async def coordinator(*flags: str, database: Path | None = None) -> AsyncIterator[Server]:
    """The real coordinator with its durable defaults; without ``database`` it has a new one.

    ``flags`` are added to those that every coordinator here has, and win over them.
    """
    with tempfile.TemporaryDirectory(prefix="compute-router-benchmark-") as directory:
        path = str(database or Path(directory) / "benchmark.db")
        usual = ("--chain", "solana", "--port", "0", "--db", path, "--log-level", "warning")
        async with _running("run_coordinator", *usual, *flags) as server:
            yield server


@asynccontextmanager
async def baseline() -> AsyncIterator[Server]:
    """Bare Tornado with the same exchange and no work."""
    async with _running("benchmarks.baseline_server") as server:
        yield server


@asynccontextmanager
async def play_money(chain: Chain) -> AsyncIterator[Server]:
    """A facilitator and a node in one, which check nothing."""
    async with _running("benchmarks.play_money", chain.value) as server:
        yield server


@asynccontextmanager
async def local_chains(solana_port: int) -> AsyncIterator[Server]:
    """Both local chains; the server's own port is that of the EVM chain."""
    async with _running("tools.local_chains", "--evm-port", "0", "--solana-port", str(solana_port)) as server:
        yield server


@asynccontextmanager
async def local_facilitator(chain: Chain, rpc_url: str, key: Path) -> AsyncIterator[Server]:
    """A facilitator of our own, with its book beside its key."""
    flags = ("--chain", chain.value, "--rpc-url", rpc_url, "--key", str(key), "--port", "0")
    async with _running("compute_router.transport.facilitator", *flags, "--log-level", "warning") as server:
        yield server


def payment_flags(chain: Chain, money: Server) -> tuple[str, ...]:
    """Flags of a coordinator that is paid with play money."""
    url = f"http://127.0.0.1:{money.port}"
    paid = ("--payments", "on", "--pay-to", PAY_TO[chain])
    return ("--chain", chain.value, *paid, "--facilitator", url, "--rpc-url", f"{url}/rpc")


@asynccontextmanager
async def _running(module: str, *arguments: str) -> AsyncIterator[Server]:
    started_at = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    server = Server(process, started_at)
    try:
        await server.wait_until_listening()
        yield server
    except BenchmarkError as error:
        await server.kill()
        raise BenchmarkError(f"{error}\n{server.last_lines()}") from error
    except BaseException:
        await server.kill()
        raise
    await server.stop()
