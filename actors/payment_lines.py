"""Lines of questions about payments: a few are under way, and one payer's keep nobody else's waiting."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

from compute_router.protocol.payments import Payment

BEGUN_IN_A_TURN: Final = 8
"""As many questions of a kind may be begun in one turn of the loop. Fewer would share fewer transactions."""


class _Payer:
    """The questions of one payer: those that wait, and how many are under way."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, Payment]] = []
        self.under_way = 0
        self.round = 0
        self.in_line = False


class PaymentLine:
    """Questions that wait for their turn; up to ``at_once`` are under way, of one payer up to ``each``.

    Payers take turns. Within a round, and among the questions of one payer, the first to expire goes first.

    A few are begun in each turn of the loop. However many wait, whoever else wants something of the loop gets
    it meanwhile.
    """

    def __init__(self, at_once: int, each: int, ask: Callable[[Payment], Coroutine[Any, Any, None]]) -> None:
        self._at_once = at_once
        self._each = each
        self._ask = ask
        self._payers: dict[str, _Payer] = {}
        # One entry for each payer with questions that wait and with a place that is free for him.
        self._line: list[tuple[int, int, int, str]] = []
        self._round = 0
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False

    def put(self, payment: Payment) -> None:
        """A question more."""
        payer = self._payers.setdefault(payment.payer, _Payer())
        heapq.heappush(payer.waiting, (payment.expires_at, next(self._numbers), payment))
        self._line_up(payment.payer)
        self._go_on()

    def close(self) -> None:
        """Give up all of them."""
        self._line.clear()
        self._payers.clear()
        for task in self._tasks:
            task.cancel()

    def _line_up(self, name: str) -> None:
        payer = self._payers[name]
        if payer.in_line or not payer.waiting or payer.under_way >= self._each:
            return
        payer.in_line = True
        payer.round = max(payer.round, self._round)
        heapq.heappush(self._line, (payer.round, payer.waiting[0][0], next(self._numbers), name))

    def _go_on(self) -> None:
        if not self._scheduled and self._line and len(self._tasks) < self._at_once:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_some)

    def _begin_some(self) -> None:
        self._scheduled = False
        for _ in range(BEGUN_IN_A_TURN):
            if not self._line or len(self._tasks) >= self._at_once:
                break
            self._begin_next()
        self._go_on()

    def _begin_next(self) -> None:
        self._round, _, _, name = heapq.heappop(self._line)
        payer = self._payers[name]
        payer.in_line = False
        payer.round = self._round + 1
        payer.under_way += 1
        task = asyncio.get_running_loop().create_task(self._ask(heapq.heappop(payer.waiting)[2]))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(name, done))
        self._line_up(name)

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        payer = self._payers.get(name)
        if payer is None:
            return
        payer.under_way -= 1
        if payer.waiting or payer.under_way:
            self._line_up(name)
        else:
            del self._payers[name]
        self._go_on()
