"""How many wrong pairing codes one address may try."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from compute_router.actors.clock import SteadyMs
from compute_router.protocol.errors import RateLimitedError
from compute_router.transport.limits import counted_as, is_limited

MAX_WRONG_CLAIMS: Final = 10
WRONG_CLAIMS_WINDOW_MS: Final = 60 * 60 * 1000
_ADDRESSES_KEPT: Final = 50_000


class _Tries:
    """What one address tried since ``began``."""

    __slots__ = ("began", "count")

    def __init__(self, began: SteadyMs) -> None:
        self.began = began
        self.count = 0


class WrongClaims:
    """Ten wrong codes for each address, then none at all until the hour is over. Lives on the event loop.

    The machine's own addresses are not limited here; codes burn by wrong tries from wherever they come. Of
    too many addresses the one whose hour began first is forgotten.
    """

    def __init__(self, now: Callable[[], SteadyMs]) -> None:
        self._now = now
        # In the order in which the hours began, so that those that are over stand first.
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._tries)

    def begin(self, address: str) -> None:
        """Count a try before its code is looked up, so that many at once cannot slip through.

        Raises:
            RateLimitedError: the address tried too many wrong codes; it says when it may try again.
        """
        if not is_limited(address):
            return
        now, caller = self._now(), counted_as(address)
        self._forget(now)
        tries = self._tries.get(caller)
        if tries is None:
            tries = self._tries[caller] = _Tries(now)
        if tries.count >= MAX_WRONG_CLAIMS:
            wait_s = max(math.ceil((tries.began + WRONG_CLAIMS_WINDOW_MS - now) / 1000), 1)
            raise RateLimitedError("This address tried too many wrong pairing codes; wait.", wait_s)
        tries.count += 1

    def was_right(self, address: str) -> None:
        """The try that was counted last was no guess: take it back."""
        tries = self._tries.get(counted_as(address))
        if tries is not None and tries.count:
            tries.count -= 1

    def _forget(self, now: SteadyMs) -> None:
        while self._tries:
            caller, first = next(iter(self._tries.items()))
            over = now - first.began >= WRONG_CLAIMS_WINDOW_MS
            if not over and len(self._tries) <= _ADDRESSES_KEPT:
                return
            del self._tries[caller]
