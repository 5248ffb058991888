"""A clock that stands still until its test moves it."""

from __future__ import annotations

from compute_router.actors.clock import SteadyMs
from compute_router.protocol.units import UnixMs


class FakeClock:
    """A :class:`~compute_router.actors.clock.Clock` in a test's hands.

    The steady time starts at 0 and the wall time at noon of 2026-02-09. Both move together with
    :meth:`advance`; :meth:`step_wall` moves the wall time alone, as an operator or NTP may do.
    """

    def __init__(self, unix_ms: int = 1_770_638_400_000) -> None:
        self._unix_ms = unix_ms
        self._steady_ms = 0

    def unix_ms(self) -> UnixMs:
        return UnixMs(self._unix_ms)

    def steady_ms(self) -> SteadyMs:
        return SteadyMs(self._steady_ms)

    def advance(self, ms: int) -> None:
        """Let time pass.

        Raises:
            ValueError: ``ms`` is negative; steady time never runs back.
        """
        if ms < 0:
            raise ValueError(f"time cannot pass backwards: {ms}")
        self._unix_ms += ms
        self._steady_ms += ms

    def step_wall(self, ms: int) -> None:
        """Set the wall clock forward or back; the steady clock does not notice."""
        self._unix_ms += ms
