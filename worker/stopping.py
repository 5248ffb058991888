"""Stopping a job that runs in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from compute_router.protocol.errors import ComputeRouterError

CheckPoint = Callable[[], None]
"""What a long computation calls every now and then; it raises :class:`JobStoppedError` when it shall end."""


class JobStoppedError(ComputeRouterError):
    """Nobody wants the outcome of this job any more."""

    code: ClassVar[str] = "job_stopped"


def go_on() -> None:
    """The check point of a computation that nobody stops."""


class StopSign:
    """Raised by one thread, seen by the one that runs the job. It stays raised."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._wake: Callable[[], object] | None = None

    def stop(self) -> None:
        """Have the job stopped; harmless when it is over or was stopped before."""
        with self._lock:
            self._stopped = True
            if self._wake is not None:
                self._wake()

    def check(self) -> None:
        """Go on.

        Raises:
            JobStoppedError: the job shall stop.
        """
        if self._stopped:
            raise JobStoppedError("The job was stopped.")

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Within this block, ``wake`` is called from the stopping thread, to interrupt a wait.

        It must not block, and it is never called after the block.

        Raises:
            JobStoppedError: the job was stopped before.
        """
        with self._lock:
            self._wake = wake
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._wake = None
