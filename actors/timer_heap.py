"""Named deadlines in one heap. Setting, replacing and cancelling one costs no search."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Final, Generic, TypeVar

from compute_router.actors.clock import SteadyMs

T = TypeVar("T")

_COMPACT_ABOVE: Final = 1024


class TimerHeap(Generic[T]):
    """At most one deadline for each key.

    A replaced or cancelled deadline stays in the heap as a dead entry until it comes up, or until dead
    entries outnumber the live ones.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[SteadyMs, int, str]] = []
        self._live: dict[str, tuple[int, T]] = {}
        self._serial = count()

    def __len__(self) -> int:
        return len(self._live)

    def set(self, key: str, due: SteadyMs, item: T) -> None:
        """Put a deadline, in place of an earlier one with the same key."""
        serial = next(self._serial)
        self._live[key] = (serial, item)
        heapq.heappush(self._heap, (due, serial, key))
        if len(self._heap) > _COMPACT_ABOVE and len(self._heap) > 2 * len(self._live):
            self._compact()

    def cancel(self, key: str) -> None:
        """Drop a deadline; unknown keys are ignored."""
        self._live.pop(key, None)

    def pop_due(self, now: SteadyMs) -> list[T]:
        """Take out every item whose deadline has come, earliest first."""
        due: list[T] = []
        while self._heap and self._heap[0][0] <= now:
            _, serial, key = heapq.heappop(self._heap)
            entry = self._live.get(key)
            if entry is not None and entry[0] == serial:
                del self._live[key]
                due.append(entry[1])
        return due

    def next_due(self) -> SteadyMs | None:
        """The earliest live deadline."""
        while self._heap:
            due, serial, key = self._heap[0]
            entry = self._live.get(key)
            if entry is not None and entry[0] == serial:
                return due
            heapq.heappop(self._heap)
        return None

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if self._is_live(entry)]
        heapq.heapify(self._heap)

    def _is_live(self, entry: tuple[SteadyMs, int, str]) -> bool:
        current = self._live.get(entry[2])
        return current is not None and current[0] == entry[1]
