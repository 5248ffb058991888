"""How much one address may open and send. What goes beyond is refused before it costs anything else."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from compute_router.actors.clock import SteadyMs

_BUCKETS_KEPT: Final = 10_000


class AddressLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits for each address: connections at once, and requests and frames a second over a longer time.

    A short burst may be ``burst_seconds`` times as large.
    """

    connections: int = 256
    messages_per_second: int = 100
    burst_seconds: int = 10


class _Bucket:
    """A token bucket: fills at a steady rate, and each message takes one token out."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: SteadyMs) -> None:
        self.tokens = tokens
        self.at = at


class AddressGuard:
    """Counts what each address does. Lives on the event loop only.

    The machine's own addresses are not limited: whatever comes from there is the operator's, or came
    through a proxy that hides who sent it and must do the limiting.
    """

    def __init__(self, limits: AddressLimits, now: Callable[[], SteadyMs]) -> None:
        self._limits = limits
        self._now = now
        self._connections: Counter[str] = Counter()
        self._buckets: dict[str, _Bucket] = {}
        self._full = float(limits.messages_per_second * limits.burst_seconds)

    def opened(self, address: str) -> bool:
        """Count a connection; False if it is one too many, and then it was not counted."""
        if not is_limited(address):
            return True
        if self._connections[address] >= self._limits.connections:
            return False
        self._connections[address] += 1
        return True

    def upgraded(self, address: str) -> None:
        """Count a WebSocket; the connection that it was counts as closed in the next moment."""
        if is_limited(address):
            self._connections[address] += 1

    def closed(self, address: str) -> None:
        """A connection that was counted is gone."""
        if is_limited(address):
            self._connections[address] -= 1
            if not self._connections[address]:
                del self._connections[address]

    def may_send(self, address: str) -> bool:
        """Count a request or frame; False if the address sends too many."""
        if not is_limited(address):
            return True
        now = self._now()
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= _BUCKETS_KEPT:
                self._drop_full_buckets(now)
            bucket = self._buckets[address] = _Bucket(self._full, now)
        self._fill(bucket, now)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _fill(self, bucket: _Bucket, now: SteadyMs) -> None:
        gained = (now - bucket.at) * self._limits.messages_per_second / 1000
        bucket.tokens = min(bucket.tokens + gained, self._full)
        bucket.at = now

    def _drop_full_buckets(self, now: SteadyMs) -> None:
        # A full bucket is as good as none.
        for address, bucket in list(self._buckets.items()):
            self._fill(bucket, now)
            if bucket.tokens >= self._full:
                del self._buckets[address]


@lru_cache(maxsize=4096)
def is_limited(address: str) -> bool:
    """Whether an address is another machine's. Unix sockets and the like have no address at all."""
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
