"""When a request that failed is made again: exponential backoff with full jitter, within the call's time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from compute_router.sdk.steps import Answered

Clock = Callable[[], float]
"""Seconds on a clock that never goes back."""

Jitter = Callable[[], float]
"""A random fraction from 0 to 1, new at every call."""

_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 5.0


class Retries:
    """Decides about the repeats of one request. ``deadline`` is on the clock given.

    A pause that the coordinator asked for is kept in full, and lengthened by a random part of the backoff,
    for it may have told everybody the same. If it does not fit into the time left, there is no repeat.
    """

    def __init__(self, deadline: float, clock: Clock, jitter: Jitter) -> None:
        self._deadline = deadline
        self._clock = clock
        self._jitter = jitter
        self._failures = 0

    @property
    def remaining_s(self) -> float:
        """What is left of the call's time; negative when it is over."""
        return self._deadline - self._clock()

    def pause_s(self, asked_pause_s: float | None = None) -> float | None:
        """Seconds to pause after one more failure, or None to give up.

        ``asked_pause_s`` is what the coordinator asked for by ``Retry-After``, if it did. The last pause is
        cut so that one more request can be made as the time ends.
        """
        remaining_s = self.remaining_s
        if remaining_s <= 0 or (asked_pause_s or 0.0) > remaining_s:
            return None
        self._failures += 1
        backoff_s = self._jitter() * longest_backoff_s(self._failures)
        return min((asked_pause_s or 0.0) + backoff_s, remaining_s)

    def succeeded(self) -> None:
        """Begin the backoff anew, because the coordinator answered."""
        self._failures = 0


def longest_backoff_s(failures_in_a_row: int) -> float:
    """Longest pause after so many failures: 0.5, 1, 2, 4, then 5 seconds."""
    return min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(failures_in_a_row - 1, 10))


def retry_after_s(answer: Answered) -> float | None:
    """Seconds from an answer's ``Retry-After`` (RFC 9110, 10.2.3), or None if it has none that is valid.

    A date is taken relative to the answer's own ``Date``, so that a wrong clock on this machine does not
    matter; servers with a clock have to send one.
    """
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    until, sent = _http_date(text), _http_date(answer.headers.get("date", ""))
    if until is None or sent is None:
        return None
    return max(0.0, (until - sent).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
