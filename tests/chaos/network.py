"""The simulated network between workers and coordinator: what is sent arrives later, in order, or never."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count

_ids = count(1)


class Link:
    """One WebSocket. Each direction is a line of frames; None is its end.

    To the coordinator this is a ``WorkerConnection``.
    """

    def __init__(
        self, worker: str, on_send: Callable[[Link, bytes], None], on_close: Callable[[int], None]
    ) -> None:
        self.worker_id = next(_ids)
        self.worker = worker
        self.up: deque[bytes | None] = deque()
        self.down: deque[bytes | None] = deque()
        self.half_open = False
        self.coordinator_sees_it = True
        self.worker_sees_it = True
        self._on_send = on_send
        self._on_close = on_close

    def send(self, frame_json: bytes) -> None:
        """The coordinator sends a frame."""
        self._on_send(self, frame_json)
        if self.coordinator_sees_it and not self.half_open:
            self.down.append(frame_json)

    def close(self, code: int, reason: str) -> None:
        """The coordinator closes."""
        self._on_close(self.worker_id)
        if not self.half_open:
            self.down.append(None)
        self.up.clear()
        self.up.append(None)

    def say(self, frame_json: bytes) -> None:
        """The worker sends a frame."""
        if not self.half_open:
            self.up.append(frame_json)

    def cut(self, *, lose: bool) -> None:
        """The connection breaks, and both sides will notice; what is under way may be lost."""
        for line in (self.up, self.down):
            if lose:
                line.clear()
            line.append(None)

    def freeze(self) -> None:
        """From now on nothing arrives on either side, and nobody is told."""
        self.half_open = True
        self.up.clear()
        self.down.clear()

    def leave(self) -> None:
        """The worker is gone; the coordinator will notice, unless the connection is frozen."""
        self.worker_sees_it = False
        self.down.clear()
        if not self.half_open:
            self.up.append(None)
