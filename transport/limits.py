"""How much one address may open and send. What goes beyond is refused before it costs anything else."""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from compute_router.actors.clock import SteadyMs

_BUCKETS_KEPT: Final = 65_536
_MINUTE_MS: Final = 60_000
_IPV6_PREFIX: Final = 64


class AddressLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits for each address: connections at once, and requests and frames a second over a longer time.

    A short burst may be ``burst_seconds`` times as large. ``sockets_per_minute`` is how many WebSockets may
    be opened in a minute: enough for all workers behind one address to come back at once, and once more.
    """

    connections: int = 256
    messages_per_second: int = 100
    burst_seconds: int = 10
    sockets_per_minute: int = 600


class _Bucket:
    """A token bucket: fills at a steady rate, and each message takes one token out."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: SteadyMs) -> None:
        self.tokens = tokens
        self.at = at


class RateLimit:
    """How often each of many callers may do something: ``burst`` at once, and ``per_ms`` over a longer time.

    A call costs the same however many callers there are. Of too many, the one that was quiet for longest
    is forgotten; it has its whole burst again, as it had nearly anyway.
    """

    def __init__(self, burst: float, per_ms: float) -> None:
        self._burst = burst
        self._per_ms = per_ms
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, caller: str, now: SteadyMs) -> bool:
        """Count one time; False if that is once too often."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            if len(self._buckets) >= _BUCKETS_KEPT:
                self._buckets.popitem(last=False)
            bucket = self._buckets[caller] = _Bucket(self._burst, now)
        else:
            self._buckets.move_to_end(caller)
            bucket.tokens = min(bucket.tokens + (now - bucket.at) * self._per_ms, self._burst)
            bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def wait_seconds(self, caller: str) -> int:
        """In how many seconds a caller that was refused just now may do it again."""
        bucket = self._buckets.get(caller)
        missing = 0.0 if bucket is None else 1 - bucket.tokens
        return max(math.ceil(missing / self._per_ms / 1000), 1)


class AddressGuard:
    """Counts what each address does. Lives on the event loop only.

    The machine's own addresses are not limited: whatever comes from there is the operator's, or came
    through a proxy that hides who sent it and must do the limiting. An IPv6 network of 64 bits counts as one
    address, because whoever has one address of it has them all.
    """

    def __init__(self, limits: AddressLimits, now: Callable[[], SteadyMs]) -> None:
        self._limits = limits
        self._now = now
        self._connections: Counter[str] = Counter()
        rate = limits.messages_per_second
        self._messages = RateLimit(rate * limits.burst_seconds, rate / 1000)
        self._sockets = RateLimit(limits.sockets_per_minute, limits.sockets_per_minute / _MINUTE_MS)

    def opened(self, address: str) -> bool:
        """Count a connection; False if it is one too many, and then it was not counted."""
        if not is_limited(address):
            return True
        caller = counted_as(address)
        if self._connections[caller] >= self._limits.connections:
            return False
        self._connections[caller] += 1
        return True

    def upgraded(self, address: str) -> None:
        """Count a WebSocket; the connection that it was counts as closed in the next moment."""
        if is_limited(address):
            self._connections[counted_as(address)] += 1

    def closed(self, address: str) -> None:
        """A connection that was counted is gone."""
        if is_limited(address):
            caller = counted_as(address)
            self._connections[caller] -= 1
            if not self._connections[caller]:
                del self._connections[caller]

    def may_send(self, address: str) -> bool:
        """Count a request or frame; False if the address sends too many."""
        return not is_limited(address) or self._messages.allows(counted_as(address), self._now())

    def may_open_socket(self, address: str) -> bool:
        """Count a WebSocket that is to be opened; False if the address opens too many."""
        return not is_limited(address) or self._sockets.allows(counted_as(address), self._now())


@lru_cache(maxsize=4096)
def is_limited(address: str) -> bool:
    """Whether an address is another machine's. Unix sockets and the like have no address at all."""
    ip = _read(address)
    return ip is not None and not ip.is_loopback


@lru_cache(maxsize=4096)
def counted_as(address: str) -> str:
    """The name under which an address is counted: its own, or that of its IPv6 network of 64 bits."""
    ip = _read(address)
    if ip is None:
        return address
    if ip.version == 4:
        return str(ip)
    host_bits = 128 - _IPV6_PREFIX
    return str(ipaddress.IPv6Network((int(ip) >> host_bits << host_bits, _IPV6_PREFIX)))


def _read(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A socket that listens for IPv6 sees IPv4 addresses in the dress of IPv6.
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return mapped or ip
