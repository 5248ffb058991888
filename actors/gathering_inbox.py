"""The mailbox between the event loop and the JobStore's thread."""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykka._envelope import Envelope


class GatheringInbox:
    """Takes mail from the event loop, and hands it to a thread once in each turn of the loop.

    Waking a thread costs more than most messages do, and a thread that is woken for each of them finds one
    at a time. What the loop says in one turn arrives together, and can share a transaction.
    ``put`` is for the loop's thread; ``get`` and ``empty`` are for the one thread that reads.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._gathered: list[Envelope[Any]] = []
        self._handed_over: queue.SimpleQueue[list[Envelope[Any]]] = queue.SimpleQueue()
        self._taken: deque[Envelope[Any]] = deque()

    def put(self, envelope: Envelope[Any], /) -> None:
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(envelope)

    def get(self) -> Envelope[Any]:
        if not self._taken:
            self._taken.extend(self._handed_over.get())
        return self._taken.popleft()

    def get_within(self, seconds: float) -> Envelope[Any] | None:
        """The next message, or None if none comes in that time."""
        if not self._taken:
            try:
                self._taken.extend(self._handed_over.get(timeout=seconds))
            except queue.Empty:
                return None
        return self._taken.popleft()

    def empty(self) -> bool:
        return not self._taken and self._handed_over.empty()

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._handed_over.put(gathered)
