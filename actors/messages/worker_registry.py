"""What the WorkerRegistry is told and asked."""

from __future__ import annotations

from compute_router.actors.messages.base import Message
from compute_router.actors.ports import WorkerConnection
from compute_router.protocol.messages import Frame, WorkerFrame


class SocketOpened(Message, frozen=True):
    """A worker's WebSocket is open; nothing was said yet."""

    connection: WorkerConnection


class SocketClosed(Message, frozen=True):
    """A worker's WebSocket is gone."""

    worker_id: int


class FrameArrived(Message, frozen=True):
    """A well-formed frame came in."""

    worker_id: int
    frame: WorkerFrame


class Deliver(Message, frozen=True):
    """Send a frame to a worker, if it is still there."""

    worker_id: int
    frame: Frame


class HeartbeatDue(Message, frozen=True):
    """Time to look whether a worker has been silent for too long."""

    worker_id: int


class SettleDue(Message, frozen=True):
    """A worker that did not prove itself has been registered long enough to be given jobs."""

    worker_id: int


class BarKey(Message, frozen=True):
    """Close every connection of a key, and let none of it register from now on."""

    pubkey: str
    reason: str


class BarredKeys(Message, frozen=True):
    """The keys that an earlier run barred."""

    pubkeys: tuple[str, ...]


class CountWorkers(Message, frozen=True):
    """Ask: how many workers are registered. Answer: int."""


class CloseAllSockets(Message, frozen=True):
    """Close every worker's socket with 1001 (RFC 6455: going away)."""
