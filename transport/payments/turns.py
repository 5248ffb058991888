"""So many at once for each payer, so that one whose payments take long takes nothing from others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Whoever has as many under way as one may have waits for one of his own to end."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._of: dict[str, tuple[asyncio.Semaphore, set[object]]] = {}

    @asynccontextmanager
    async def of(self, payer: str) -> AsyncIterator[None]:
        """One turn of a payer."""
        semaphore, users = self._of.setdefault(payer, (asyncio.Semaphore(self._each), set()))
        me = object()
        users.add(me)
        try:
            async with semaphore:
                yield
        finally:
            users.remove(me)
            if not users:
                del self._of[payer]
