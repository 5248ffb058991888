"""How often one address may call each endpoint, on top of what it may send in all (``limits.py``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import msgspec

from compute_router.actors.clock import SteadyMs
from compute_router.protocol.errors import RateLimitedError
from compute_router.transport import limits as address_limits
from compute_router.transport.http_types import Answer, Request, Stream
from compute_router.transport.limits import AddressLimits, RateLimit, counted_as
from compute_router.transport.router import Handler, Router

MINUTE_MS: Final = 60_000


class Cost(Enum):
    """What a call costs the coordinator, or what it could tell an attacker."""

    READ = "read"
    """Health, a job, its events: as often as the address may send at all."""
    QUOTE = "quote"
    COMMIT = "commit"
    TRUST = "trust"
    """Listing and revoking pairings."""
    TRUST_CREATE = "trust_create"
    TRUST_CLAIM = "trust_claim"
    KEYS = "keys"
    RECEIPTS = "receipts"
    WORKERS = "workers"
    PAYOUTS = "payouts"


class Rate(msgspec.Struct, frozen=True):
    """Calls a minute over a longer time, and how many may come at once after a quiet one."""

    per_minute: int
    burst: int


_FIXED: Final = {
    Cost.TRUST: Rate(120, 30),
    Cost.TRUST_CREATE: Rate(30, 30),
    Cost.TRUST_CLAIM: Rate(60, 30),
    Cost.KEYS: Rate(60, 30),
    Cost.RECEIPTS: Rate(1_200, 200),
    Cost.WORKERS: Rate(120, 30),
    # A batch of the most payouts, each with its steps.
    Cost.PAYOUTS: Rate(1_200, 1_000),
}


COSTS: Final = {
    ("GET", "/"): Cost.READ,
    ("GET", "/.well-known/compute-router"): Cost.READ,
    ("GET", "/v1/health"): Cost.READ,
    ("GET", "/v1/quote"): Cost.QUOTE,
    ("POST", "/v1/jobs/commit/*"): Cost.COMMIT,
    ("GET", "/v1/jobs/*"): Cost.READ,
    ("DELETE", "/v1/jobs/*"): Cost.COMMIT,
    ("GET", "/v1/jobs/*/events"): Cost.READ,
    ("GET", "/v1/receipts/*"): Cost.RECEIPTS,
    ("GET", "/v1/workers"): Cost.WORKERS,
    ("GET", "/v1/workers/*"): Cost.WORKERS,
    ("GET", "/v1/workers/*/earnings"): Cost.WORKERS,
    ("GET", "/v1/payments"): Cost.WORKERS,
    ("GET", "/v1/payouts"): Cost.PAYOUTS,
    ("POST", "/v1/payouts"): Cost.PAYOUTS,
    ("POST", "/v1/payouts/*"): Cost.PAYOUTS,
    ("POST", "/v1/trust/create"): Cost.TRUST_CREATE,
    ("POST", "/v1/trust/claim"): Cost.TRUST_CLAIM,
    ("GET", "/v1/trust/list"): Cost.TRUST,
    ("DELETE", "/v1/trust/*"): Cost.TRUST,
    ("POST", "/v1/keys"): Cost.KEYS,
    ("GET", "/v1/keys"): Cost.KEYS,
    ("DELETE", "/v1/keys/*"): Cost.KEYS,
}
"""What each route costs; one that is not here counts as reading."""


def rates(limits: AddressLimits) -> dict[Cost, Rate]:
    """The table of limits. Reading, quotes and commits grow with what the operator lets an address send."""
    whole = Rate(limits.messages_per_second * 60, limits.messages_per_second * limits.burst_seconds)
    half = Rate(max(whole.per_minute // 2, 1), max(whole.burst // 2, 1))
    return {Cost.READ: whole, Cost.QUOTE: half, Cost.COMMIT: half, **_FIXED}


class EndpointLimits:
    """Guards handlers. Lives on the event loop only; the machine's own addresses are not limited."""

    def __init__(self, limits: AddressLimits, now: Callable[[], SteadyMs]) -> None:
        self._now = now
        self._limits: dict[Cost, RateLimit] = {
            cost: RateLimit(rate.burst, rate.per_minute / MINUTE_MS)
            for cost, rate in rates(limits).items()
            if cost is not Cost.READ
        }

    def guard_all(self, router: Router) -> None:
        """Guard every route by its cost."""
        router.replace_handlers(
            lambda method, path, handler: self.guard(COSTS.get((method, path), Cost.READ), handler)
        )

    def guard(self, cost: Cost, handler: Handler) -> Handler:
        """The handler, refusing an address that calls endpoints of this cost too often.

        Raises:
            RateLimitedError: from the guarded handler; it says when the next call may come.
        """
        limit = self._limits.get(cost)
        if limit is None:
            # The address's own limit is this one.
            return handler

        def guarded(request: Request, variable: str) -> Awaitable[Answer | Stream]:
            request.cost = cost.value
            if address_limits.is_limited(request.address):
                caller = counted_as(request.address)
                if not limit.allows(caller, self._now()):
                    raise RateLimitedError(
                        "This address calls this endpoint too often; wait.", limit.wait_seconds(caller)
                    )
            return handler(request, variable)

        return guarded
