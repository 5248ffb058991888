"""A proxy before the real facilitator's process: it loses, delays, doubles and falsifies its answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from typing import Any, Final

import httpx

from compute_router.protocol.networks import NETWORKS, Chain
from tests.chaos.journal import Journal

SETTLEMENTS: Final = (
    "down",
    "500 before",
    "500 after",
    "cut",
    "slow",
    "late",
    "denied",
    "refused",
    "made up",
    "twice",
    "killed under way",
)
_VERIFICATIONS: Final = ("down", "500 before", "cut", "slow")
_SLOW_SECONDS: Final = 0.3
_LATE_SECONDS: Final = 1.0
"""Longer than the coordinator waits."""

_MOST_SECONDS: Final = 5.0
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class SlyFacilitator:
    """Where the coordinator thinks its facilitator is. ``lies`` are references of settlements it made up."""

    def __init__(
        self, chain: Chain, rng: random.Random, journal: Journal, kill_coordinator: Callable[[], None]
    ) -> None:
        self.unlucky = False
        self.target = ""
        self.lies: set[str] = set()
        self.port = 0
        self._chain = chain
        self._rng = rng
        self._journal = journal
        self._kill_coordinator = kill_coordinator
        self._http = httpx.AsyncClient(trust_env=False, timeout=_MOST_SECONDS)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """The end of the run."""
        if self._server is not None:
            self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._http.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # Whoever is killed in the middle closes its sockets.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, httpx.HTTPError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                lengths = [line[15:] for line in head.split("\r\n") if line.lower()[:15] == "content-length:"]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                answer = await self._answer(method, path, body)
                if answer is None:
                    break
                status, content = answer
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content)
                )
                await writer.drain()
        writer.close()

    async def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        kinds = {"/settle": SETTLEMENTS, "/verify": _VERIFICATIONS}.get(path, ())
        if not self.unlucky or not kinds or self._rng.random() > (0.5 if path == "/settle" else 0.1):
            return await self._pass_on(method, path, body)
        what = self._rng.choice(kinds)
        self._journal.fault(f"{'settlement' if path == '/settle' else 'verification'} {what}")
        match what:
            case "down":
                return None
            case "500 before":
                return 500, b"{}"
            case "refused":
                return 200, self._settlement(success=False, reference="")
            case "made up":
                return 200, self._settlement(success=True, reference=self._made_up())
            case "slow":
                await asyncio.sleep(_SLOW_SECONDS)
            case "late":
                await asyncio.sleep(_LATE_SECONDS)
            case _:
                pass
        answer = await self._pass_on(method, path, body)
        match what:
            case "500 after":
                return 500, b"{}"
            case "cut":
                return None
            case "denied":
                return 200, self._settlement(success=False, reference="")
            case "twice":
                return await self._pass_on(method, path, body)
            case "killed under way":
                self._kill_coordinator()
                return None
            case _:
                return answer

    async def _pass_on(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body else {}
        answer = await self._http.request(method, self.target + path, content=body, headers=headers)
        return answer.status_code, answer.content

    def _settlement(self, *, success: bool, reference: str) -> bytes:
        said = {"success": success, "transaction": reference, "network": NETWORKS[self._chain].caip2}
        return json.dumps(said if success else said | {"errorReason": "a lie"}).encode()

    def _made_up(self) -> str:
        if self._chain is Chain.MONAD:
            lie = "0x" + self._rng.randbytes(32).hex()
        else:
            lie = "5" + "".join(self._rng.choices(_BASE58, k=86))
        self.lies.add(lie)
        return lie
