"""Results that the coordinator has not acknowledged yet."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from compute_router.protocol.messages import MAX_SLOTS
from compute_router.worker.jobs import AttemptKey

# Together with the running jobs this is what ``register`` may list as active.
MAX_RESULTS: Final = 3 * MAX_SLOTS
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_SENDS: Final = 5

_log = logging.getLogger(__name__)


class _Held(msgspec.Struct):
    frame: bytes
    sends_left: int


class Outbox:
    """Finished frames by attempt, oldest first, bounded in number, bytes and times sent.

    An acknowledgement removes a frame, and a frame that nobody acknowledges goes out once. A coordinator
    that never acknowledges cannot make it grow or be sent for ever: past a bound the oldest results are
    given up, and the log says so.
    """

    def __init__(self) -> None:
        self._held: dict[AttemptKey, _Held] = {}
        self._bytes = 0

    def __contains__(self, key: AttemptKey) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def attempts(self) -> list[AttemptKey]:
        """Attempts whose results are held, oldest first."""
        return list(self._held)

    def put(self, key: AttemptKey, frame: bytes, *, acknowledged: bool) -> None:
        """Hold a frame, in place of an older one of the same attempt, until it is acknowledged or sent."""
        self.drop(key)
        self._held[key] = _Held(frame, MAX_SENDS if acknowledged else 1)
        self._bytes += len(frame)
        while len(self._held) > MAX_RESULTS or self._bytes > MAX_BYTES:
            oldest = next(iter(self._held))
            _log.warning("Giving up the result of job %s: too many results are not acknowledged.", oldest)
            self.drop(oldest)

    def send(self, key: AttemptKey) -> list[bytes]:
        """The frames to send now for one attempt: one, or none when nothing is held for it.

        A frame is forgotten with its last permitted send.
        """
        held = self._held.get(key)
        if held is None:
            return []
        held.sends_left -= 1
        if held.sends_left == 0:
            self.drop(key)
        return [held.frame]

    def acknowledge(self, job_id: str, attempt: int | None) -> None:
        """Forget a result; without an attempt number, every attempt of the job."""
        for key in self.attempts() if attempt is None else [AttemptKey(job_id, attempt)]:
            if key.job_id == job_id:
                self.drop(key)

    def drop(self, key: AttemptKey) -> None:
        """Forget a result without sending it; nothing happens when none is held."""
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= len(held.frame)
