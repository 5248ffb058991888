"""Where the actors get their time from: a port, so that tests hold the clock."""

from __future__ import annotations

import time
from typing import NewType, Protocol

from compute_router.protocol.units import UnixMs

SteadyMs = NewType("SteadyMs", int)
"""Milliseconds on a clock that never steps; only differences mean something."""


class Clock(Protocol):
    """Two times: one for records and people, one for measuring how long something takes."""

    def unix_ms(self) -> UnixMs:
        """Wall-clock time, which an operator or NTP may step."""

    def steady_ms(self) -> SteadyMs:
        """Time that only runs forward."""


class SystemClock:
    """The machine's clocks."""

    def unix_ms(self) -> UnixMs:
        return UnixMs(time.time_ns() // 1_000_000)

    def steady_ms(self) -> SteadyMs:
        return SteadyMs(time.monotonic_ns() // 1_000_000)
