"""Threads for one kind of work, and a queue before them that does not grow for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from compute_router.protocol.errors import UnavailableError
from compute_router.transport.facilitator.bodies import Question
from compute_router.transport.payments.turns import Turns

_MOST_WAITING: Final = 256

T = TypeVar("T")


class BusyError(UnavailableError):
    """As many payments are under way as this facilitator takes at once."""

    code = "busy"


class Lane:
    """Work that blocks. No payer has all threads, nor all places of the queue, for himself."""

    def __init__(self, name: str, threads: int, *, each: int | None = None) -> None:
        """``each`` is how many threads one payer may have; None: all."""
        self._threads = ThreadPoolExecutor(threads, name)
        each = threads if each is None else each
        self._most_each = -(-_MOST_WAITING * each // threads)
        self._turns = Turns(each)
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, work: Callable[[Question], T], question: Question) -> T:
        """Do it in a thread.

        Raises:
            BusyError: too much of it is under way.
        """
        payer = question.payer
        if self._turns.under_way >= _MOST_WAITING:
            raise BusyError("Too many payments are under way. Try again later.")
        if self._turns.under_way_of(payer) >= self._most_each:
            raise BusyError("Too many payments of this payer are under way. Try again later.")
        self._idle.clear()
        try:
            await self._turns.take(payer)
        except BaseException:
            self._look_whether_idle()
            raise
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, question)
        running.add_done_callback(lambda done: self._one_done(payer, done))
        # Whoever asked may go away; what was begun is brought to its end.
        return await asyncio.shield(running)

    async def end(self) -> None:
        """Wait for all that is under way."""
        await self._idle.wait()
        self._threads.shutdown(wait=False)

    def _one_done(self, payer: str, running: asyncio.Future[Any]) -> None:
        self._turns.leave(payer)
        self._look_whether_idle()
        if not running.cancelled():
            running.exception()

    def _look_whether_idle(self) -> None:
        if not self._turns.under_way:
            self._idle.set()
