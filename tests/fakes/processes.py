"""Our programs as real processes: started, waited for by what they print, stopped, killed."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

ROOT: Final = Path(__file__).parents[2]
PATIENCE_SECONDS: Final = 20.0
_LISTENING: Final = re.compile(r"listening on http://(\S+):(\d+)$")


class Process:
    """A running program. Its output is read all the time, so it never blocks on a full pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._changed = asyncio.Event()
        self._readers = [
            asyncio.ensure_future(self._read("stdout", process.stdout)),
            asyncio.ensure_future(self._read("stderr", process.stderr)),
        ]

    @classmethod
    async def start(
        cls, arguments: list[str], directory: Path, environ: Mapping[str, str] | None = None
    ) -> Process:
        """Run Python with these arguments in a directory, without settings from this machine."""
        inherited = {name: value for name, value in os.environ.items() if "COMPUTE_ROUTER" not in name}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=directory,
            env={**inherited, "HOME": str(directory), **(environ or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process)

    def limit_file_sizes(self, size: int | None) -> None:
        """Have every write beyond this size of a file fail, as on a full disk, or none again."""
        _, most = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        soft = most if size is None else size
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (soft, most))

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return "\n".join(self._lines["stdout"])

    @property
    def stderr(self) -> str:
        """What it has logged so far."""
        return "\n".join(self._lines["stderr"])

    async def line(self, text: str) -> str:
        """Wait until it has printed or logged a line with this text, and return that line."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for line in (*self._lines["stdout"], *self._lines["stderr"]):
                    if text in line:
                        return line
                assert not all(reader.done() for reader in self._readers), (
                    f"it ended before it said {text!r}:\n{self.stdout}\n{self.stderr}"
                )
                self._changed.clear()
                await self._changed.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; the exit code, negative for the signal that killed it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*self._readers)
            return await self._process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and wait; the exit code."""
        self.send_signal(number)
        return await self.ended()

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait until it is gone."""
        if self._process.returncode is None:
            self.send_signal(signal.SIGKILL)
        await self.ended()

    async def _read(self, name: str, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self._lines[name].append(line.decode().rstrip("\n"))
            self._changed.set()
        self._changed.set()


class CoordinatorProcess:
    """A coordinator that listens, with an HTTP client for it."""

    def __init__(self, process: Process, port: int, http: httpx.AsyncClient) -> None:
        self.process = process
        self.port = port
        self.http = http
        self.url = str(http.base_url).rstrip("/")


def run_coordinator(*flags: str) -> list[str]:
    """Arguments that start a coordinator for Solana on a free port, unless the flags say otherwise."""
    chain = [] if "--chain" in flags else ["--chain", "solana"]
    port = [] if "--port" in flags else ["--port", "0"]
    return [str(ROOT / "run_coordinator.py"), *chain, *port, *flags]


@asynccontextmanager
async def program(
    arguments: list[str], directory: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Run a program; whatever is left of it in the end is killed."""
    process = await Process.start(arguments, directory, environ)
    try:
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def coordinator_process(
    directory: Path, *flags: str, code: str | None = None
) -> AsyncIterator[CoordinatorProcess]:
    """Run a coordinator in a directory and wait until it listens; in the end it is killed.

    ``code`` is a program that runs it, in place of the script.
    """
    arguments = run_coordinator(*flags)
    if code is not None:
        arguments = ["-c", code, *arguments[1:]]
    async with program(arguments, directory) as process:
        found = _LISTENING.search(await process.line("listening on "))
        assert found is not None, process.stdout
        base_url = f"http://127.0.0.1:{found[2]}"
        async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=70.0) as http:
            yield CoordinatorProcess(process, int(found[2]), http)


@asynccontextmanager
async def worker_process(
    url: str, directory: Path, *flags: str, name: str = "worker", registered: bool = True
) -> AsyncIterator[Process]:
    """Run a worker whose key file has this name; with ``registered``, wait until it serves."""
    key = ["--key", str(directory / f"{name}.key")]
    arguments = ["-m", "compute_router.worker", "--coordinator", url, *key, *flags]
    async with program(arguments, directory) as process:
        if registered:
            await process.line("Registered with the coordinator")
        yield process
