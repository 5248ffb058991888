"""What the actors tell the edge: jobs that ended, progress of those somebody follows, sockets to close."""

from __future__ import annotations

from compute_router.actors.messages.base import Message
from compute_router.protocol.job_state import JobStatus
from compute_router.storage.interface import JobView


class PublishJob(Message, frozen=True):
    """A job ended: tell whoever waits for it."""

    view: JobView


class Progress(Message, frozen=True):
    """Where an unfinished job that somebody follows stands now."""

    job_id: str
    status: JobStatus
    attempt: int


class Chunk(Message, frozen=True):
    """A piece of output of a job that somebody follows. Pieces of an earlier attempt are void."""

    job_id: str
    attempt: int
    seq: int
    delta: str


class CloseSocket(Message, frozen=True):
    """Close one worker's connection."""

    worker_id: int
    code: int
    reason: str
