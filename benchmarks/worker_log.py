"""What the workers of one pool tell: how jobs came and went, and what went wrong."""

from __future__ import annotations

import asyncio

from benchmarks.errors import BenchmarkError
from benchmarks.load_log import Seconds
from benchmarks.tally import Tally


class WorkerLog:
    """Shared by the workers of one pool; all run on one event loop.

    ``assigned`` counts jobs that arrived, ``accepted`` results that the server acknowledged. ``held``
    collects how long jobs with work really kept their worker: timers fire a little late. While ``closing``
    is set, a connection that the server closes is no failure.
    """

    def __init__(self) -> None:
        self.assigned = Tally()
        self.accepted = Tally()
        self.held: list[Seconds] = []
        self.closing = False
        self.failed = asyncio.Event()
        self._failures: list[str] = []

    def fail(self, reason: str) -> None:
        """Note that a worker was not treated as it should be."""
        self._failures.append(reason)
        self.failed.set()

    def raise_failures(self) -> None:
        """Refuse to go on after a failure.

        Raises:
            BenchmarkError: something failed.
        """
        if self._failures:
            raise BenchmarkError(f"{len(self._failures)} worker failures, the first: {self._failures[0]}")
