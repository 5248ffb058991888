"""What the actors need from the outside world; the transport provides it, tests fake it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from compute_router.storage.interface import JobView

if TYPE_CHECKING:
    from compute_router.actors.messages.edge import Chunk, Progress


class WorkerConnection(Protocol):
    """One worker's socket. ``worker_id`` is unique in the life of the process.

    Both calls return at once and never raise: what cannot be sent is lost with the connection, whose end
    is reported as ``SocketClosed``.
    """

    worker_id: int

    def send(self, frame_json: bytes) -> None:
        """Send one text frame."""

    def close(self, code: int, reason: str) -> None:
        """Close with a status code (RFC 6455, section 7.4)."""


class JobWatchers(Protocol):
    """Whoever waits for jobs to end, or follows their steps."""

    def progress(self, step: Progress | Chunk) -> None:
        """A job that is followed moved on."""

    def publish(self, view: JobView) -> None:
        """A job ended, and that is durable."""
