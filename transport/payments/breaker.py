"""A circuit breaker: while somebody else is down, do not ask him for every request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from compute_router.actors.clock import SteadyMs

_FAILURES: Final = 3
_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 30_000


class Breaker:
    """Opens after three failures in a row, for a pause that doubles each time; one success closes it.

    After the pause a single call is let through to try. Lives on the event loop only.
    """

    def __init__(self, now: Callable[[], SteadyMs]) -> None:
        self._now = now
        self._failures = 0
        self._pause = 0
        self._closed_from: int = 0
        self._trying = False

    @property
    def is_tried(self) -> bool:
        """Whether a call is under way that shows whether the others may be made again."""
        return self._trying

    @property
    def wait_ms(self) -> int:
        """Milliseconds until the next call may be made; 0: at once."""
        return max(self._closed_from - self._now(), 0)

    def take_turn(self) -> bool:
        """Whether a call may be made now. Of those that come when a pause has just ended, only the first."""
        if self.wait_ms:
            return False
        if self._pause:
            self._closed_from = self._now() + self._pause
            self._trying = True
        return True

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = self._pause = self._closed_from = 0
        self._trying = False

    def give_back(self) -> None:
        """The call that tries was broken off: the next one tries in its place."""
        if self._trying:
            self._trying = False
            self._closed_from = self._now()

    def failed(self) -> None:
        """A call was not answered. What was asked before the pause says nothing new."""
        if self.wait_ms and not self._trying:
            return
        self._failures += 1
        if self._failures >= _FAILURES:
            self.trip()

    def trip(self) -> None:
        """Open at once: it is known that nobody answers."""
        self._trying = False
        self._failures = max(self._failures, _FAILURES)
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE_MS), _LONGEST_PAUSE_MS)
        self._closed_from = self._now() + self._pause
