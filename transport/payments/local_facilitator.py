"""The coordinator's own facilitator: a child process that is watched, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import sys
from pathlib import Path
from typing import Final

import msgspec

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import Chain
from compute_router.protocol.units import DurationMs
from compute_router.transport.facilitator.parent import Whispered

logger = logging.getLogger(__name__)

MODULE: Final = "compute_router.transport.facilitator"
_LISTENING: Final = re.compile(rb".* listening on (http://\S+:(\d+))\s*")
_STARTS_WITHIN_SECONDS: Final = 60.0
_STOPS_WITHIN_SECONDS: Final = 45.0
"""More than a settlement under way waits for its block."""


class Restarts(msgspec.Struct, frozen=True):
    """Pauses before a new start, in seconds: doubled each time, and short again after it ran for a while."""

    first: float = 0.5
    longest: float = 30.0
    forgiven_after: float = 60.0


class LocalFacilitator:
    """One facilitator process. It keeps its address over restarts.

    It ends with this process even if that is killed: it watches a pipe which only we hold open.
    """

    def __init__(
        self,
        chain: Chain,
        key: Path,
        rpc_url: str,
        restarts: Restarts | None = None,
        *,
        confirm: DurationMs | None = None,
    ) -> None:
        """``confirm`` is how long a settlement waits for its block: less than we wait for the answer."""
        self._chain = chain
        self._key = key
        self._rpc_url = rpc_url
        self.secret = secrets.token_hex(32)
        """What it wants to hear with each question. Nobody else on this machine may spend its key's gas."""
        self._restarts = restarts or Restarts()
        self._confirm = confirm or PaymentPolicy().confirm_timeout
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self.started = asyncio.Event()
        """Set while a process is up that has said so."""
        self.ended = asyncio.Event()
        """Set when one has ended by itself, for the first time."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process at the moment."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it, and watch it from then on.

        Raises:
            ConfigurationError: it does not start. Why is on standard error, in its own words.
        """
        await self._launch()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop it; settlements under way come to their end first."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._end()

    async def _launch(self) -> None:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULE,
            f"--chain={self._chain.value}",
            f"--key={self._key}",
            f"--port={self._port}",
            f"--confirm-seconds={self._confirm / 1000:g}",
            "--log-level=warning",
            "--supervised",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C at the terminal is for us: settlements go on while we drain.
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        # Not in its command line, which every user of the machine can read: the URL may hold an API key.
        process.stdin.write(Whispered(self._rpc_url, self.secret).line())
        try:
            async with asyncio.timeout(_STARTS_WITHIN_SECONDS):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        except BaseException:
            await self._end()
            raise
        match = _LISTENING.fullmatch(line)
        if match is None:
            await self._end()
            raise ConfigurationError("The local facilitator does not start; the lines above say why.")
        self._port = int(match[2])
        self._reading = asyncio.create_task(_read_away(process.stdout))
        self.started.set()

    async def _watch(self) -> None:
        pause = self._restarts.first
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            assert self._process is not None
            code = await self._process.wait()
            self.started.clear()
            self.ended.set()
            if loop.time() - since >= self._restarts.forgiven_after:
                pause = self._restarts.first
            while not self.started.is_set():
                logger.warning("the local facilitator ended with %d; it starts again in %g s", code, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._restarts.longest)
                try:
                    await self._launch()
                except (ConfigurationError, OSError):
                    code = -1 if self._process is None else self._process.returncode or 0

    async def _end(self) -> None:
        self.started.clear()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOPS_WITHIN_SECONDS)
            except TimeoutError:
                logger.warning("the local facilitator does not stop; it is killed")
                process.kill()
                await process.wait()
        if self._reading is not None:
            await self._reading
            self._reading = None
        if process is not None and process.stdin is not None:
            process.stdin.close()


async def _read_away(stream: asyncio.StreamReader) -> None:
    """A pipe that nobody reads fills up, and then its writer waits for ever."""
    while await stream.read(4096):
        pass
