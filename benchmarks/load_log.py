"""What the clients of one load tell: how many finished, how long each took, and what went wrong."""

from __future__ import annotations

import asyncio
import time
from typing import Final, NewType

from benchmarks.errors import BenchmarkError

Seconds = NewType("Seconds", float)
"""A length of time in seconds, with fractions."""

_MAX_FAILURES_KEPT: Final = 5


class LoadLog:
    """Shared by the clients of one load; all run on one event loop. ``reasons`` are of the first failures."""

    def __init__(self, clients: int) -> None:
        self.latencies: list[Seconds] = []
        self.failed = 0
        self.stopping = False
        self.ended = asyncio.Event()
        self.ended_at = 0.0
        self.reasons: list[str] = []
        self._clients_left = clients

    @property
    def finished(self) -> int:
        """Requests or jobs that ended well."""
        return len(self.latencies)

    def succeed(self, took: Seconds) -> None:
        """One request or job ended well."""
        self.latencies.append(took)

    def fail(self, reason: str) -> None:
        """One request or job did not end well."""
        self.failed += 1
        if len(self.reasons) < _MAX_FAILURES_KEPT:
            self.reasons.append(reason)

    def client_ended(self) -> None:
        """A client will send no more."""
        self._clients_left -= 1
        if self._clients_left == 0:
            self.ended_at = time.perf_counter()
            self.ended.set()

    def raise_failures(self) -> None:
        """Refuse to go on after a failure.

        Raises:
            BenchmarkError: something failed.
        """
        if self.failed:
            raise BenchmarkError(f"{self.failed} failed, for example: {'; '.join(self.reasons)}")
