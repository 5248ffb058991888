"""Gathering the pieces of an answer into chunks worth a frame."""

from __future__ import annotations

from typing import Final

from compute_router.protocol.units import DurationMs
from compute_router.worker.session_events import MonotonicMs

CHUNK_EVERY: Final = DurationMs(250)


class ChunkBatch:
    """The first piece goes out at once; later ones are gathered for CHUNK_EVERY."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._next_at: MonotonicMs | None = None

    def add(self, piece: str, now: MonotonicMs) -> str:
        """Take a piece in. Returns the chunk to send now, or nothing."""
        self._pieces.append(piece)
        if self._next_at is not None and now < self._next_at:
            return ""
        chunk = self.rest()
        if chunk:
            self._next_at = MonotonicMs(now + CHUNK_EVERY)
        return chunk

    def rest(self) -> str:
        """What was not sent yet."""
        chunk = "".join(self._pieces)
        self._pieces.clear()
        return chunk
