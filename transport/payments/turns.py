"""So many at once for each payer, so that one whose payments take long takes nothing from others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Seats(asyncio.Semaphore):
    """Those of one payer, and how many of his are under way: seated, or waiting for a seat."""

    under_way = 0


class Turns:
    """Whoever has as many under way as one may have waits for one of his own to end."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._seats: dict[str, _Seats] = {}
        self.under_way = 0
        """Of all payers, with those who wait for their turn."""

    def under_way_of(self, payer: str) -> int:
        """How many of this payer have a turn or wait for one."""
        return self._seats[payer].under_way if payer in self._seats else 0

    async def take(self, payer: str) -> None:
        """Wait for a turn of a payer. Whoever has it gives it back with :meth:`leave`."""
        seats = self._seats.setdefault(payer, _Seats(self._each))
        seats.under_way += 1
        self.under_way += 1
        try:
            await seats.acquire()
        except BaseException:
            self._one_less(payer)
            raise

    def leave(self, payer: str) -> None:
        """The turn is over."""
        self._seats[payer].release()
        self._one_less(payer)

    @asynccontextmanager
    async def of(self, payer: str) -> AsyncIterator[None]:
        """One turn of a payer."""
        await self.take(payer)
        try:
            yield
        finally:
            self.leave(payer)

    def _one_less(self, payer: str) -> None:
        self.under_way -= 1
        self._seats[payer].under_way -= 1
        if not self._seats[payer].under_way:
            del self._seats[payer]
