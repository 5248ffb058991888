"""An event loop whose time is a fake clock, so that a simulated hour takes no time at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fakes.clock import FakeClock

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its timers go off when the clock was moved past them.

    Something must always be ready to run (the simulation's own task is), or the loop would wait in real
    time for a clock that stands still.
    """

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def time(self) -> float:
        return self._clock.steady_ms() / 1000


def run(main: Coroutine[Any, Any, T], clock: FakeClock) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)
