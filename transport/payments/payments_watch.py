"""Keeps the health board true about payments: whether they can be taken now, and if not, why."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final, Protocol

from compute_router.actors.health import HealthBoard

logger = logging.getLogger(__name__)

FACILITATOR: Final = "facilitator"
RECEIVER: Final = "pay_to"
"""Parts of the health board."""

_LOOK_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 2.0


class Watched(Protocol):
    """A facilitator that can be asked how it is. It sets ``in_doubt`` when it has left a question open."""

    in_doubt: asyncio.Event

    async def healthy(self) -> str | None:
        """None, or what is wrong with it."""


class Receives(Protocol):
    """Where payments go."""

    async def problem(self) -> str | None:
        """None, or why no payment can arrive there."""


class PaymentsWatch:
    """Looks every 30 seconds, every 2 while something is wrong, and soon when a question was left open.

    ``receiver`` is None on chains whose addresses can always receive.
    """

    def __init__(
        self,
        facilitator: Watched,
        receiver: Receives | None,
        board: HealthBoard,
        *,
        look_s: float = _LOOK_SECONDS,
        look_again_s: float = _LOOK_AGAIN_SECONDS,
    ) -> None:
        self._facilitator = facilitator
        self._receiver = receiver
        self._board = board
        self._look_s = look_s
        self._look_again_s = look_again_s

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            looked_at = loop.time()
            self._facilitator.in_doubt.clear()
            problem = await self._facilitator.healthy()
            self._tell(FACILITATOR, problem, "the facilitator is well again")
            if problem is None and self._receiver is not None:
                problem = await self._receiver.problem()
                self._tell(RECEIVER, problem, "payments can arrive")
            if problem is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await self._facilitator.in_doubt.wait()
            # Payments that nobody can check must not make it look all the time.
            await asyncio.sleep(max(looked_at + self._look_again_s - loop.time(), 0))

    def _tell(self, part: str, problem: str | None, mended: str) -> None:
        known = self._board.problem(part)
        if problem is not None and problem != known:
            logger.warning("paid jobs are refused for now: %s", problem)
        elif problem is None and known is not None:
            logger.info("%s", mended)
        self._board.report(part, problem)
