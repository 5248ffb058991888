"""A count that somebody waits for."""

from __future__ import annotations

import asyncio


class Tally:
    """Counts events of one kind; one task at a time may wait until there are as many as it wants."""

    def __init__(self) -> None:
        self.count = 0
        self._goal = 0
        self._reached = asyncio.Event()

    def add(self) -> None:
        """One more."""
        self.count += 1
        if self.count == self._goal:
            self._reached.set()

    async def reach(self, goal: int) -> None:
        """Return as soon as the count is ``goal`` or more."""
        if self.count >= goal:
            return
        self._goal = goal
        self._reached.clear()
        await self._reached.wait()
