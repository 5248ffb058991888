"""How often each API key may call each kind of endpoint, from wherever its calls come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from compute_router.actors.clock import SteadyMs
from compute_router.protocol.errors import RateLimitedError
from compute_router.transport.endpoint_limits import MINUTE_MS, Cost, Rate, rates
from compute_router.transport.limits import AddressLimits, RateLimit

_TIMES_AN_ADDRESS: Final = 4
"""A key may serve several machines of its user."""


def key_rates(limits: AddressLimits) -> dict[Cost, Rate]:
    """The table of limits: several times those of an address."""
    return {
        cost: Rate(rate.per_minute * _TIMES_AN_ADDRESS, rate.burst * _TIMES_AN_ADDRESS)
        for cost, rate in rates(limits).items()
    }


class KeyRates:
    """Counts what each key does. Lives on the event loop only; the machine's own calls count as well."""

    def __init__(self, limits: AddressLimits, now: Callable[[], SteadyMs]) -> None:
        self._now = now
        self._limits = {
            cost: RateLimit(rate.burst, rate.per_minute / MINUTE_MS)
            for cost, rate in key_rates(limits).items()
        }

    def count(self, key_id: str, cost: Cost) -> None:
        """Count a call that was made with a valid key.

        Raises:
            RateLimitedError: that is once too often; it says when the next call may come.
        """
        limit = self._limits[cost]
        if not limit.allows(key_id, self._now()):
            raise RateLimitedError(
                "This API key calls this endpoint too often; wait.", limit.wait_seconds(key_id)
            )
