"""How long to wait before the next try to reach the coordinator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from compute_router.protocol.units import DurationMs

BASE: Final = DurationMs(500)
CAP: Final = DurationMs(30_000)
_STEPS_TO_CAP: Final = 6


def ceiling(failures: int) -> DurationMs:
    """Longest wait after some failures in a row (0 is the first): doubles from BASE and stops at CAP."""
    return DurationMs(min(CAP, BASE << min(failures, _STEPS_TO_CAP)))


class Backoff:
    """Exponential backoff with full jitter.

    Every wait is drawn evenly between nothing and the ceiling, which spreads many workers that lost the
    same coordinator best ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    def __init__(self, roll: Callable[[], float]) -> None:
        """``roll`` draws from 0 up to, not including, 1."""
        self._roll = roll
        self._failures = 0

    def next_delay(self) -> DurationMs:
        """The wait before the next try; counts one more failure."""
        delay = DurationMs(int(ceiling(self._failures) * self._roll()))
        self._failures += 1
        return delay

    def reset(self) -> None:
        """Start over: the worker was registered."""
        self._failures = 0
