"""What the worker's parts say to each other about a job."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.jobs import JobType
from compute_router.protocol.sealing import SealBinding
from compute_router.protocol.units import UnixMs


class AttemptKey(msgspec.Struct, frozen=True):
    """Names one attempt at one job. ``attempt`` is None when the coordinator does not count attempts."""

    job_id: str
    attempt: int | None

    def __str__(self) -> str:
        """Short form for logs: a whole job id would let its reader fetch the result."""
        attempt = "" if self.attempt is None else f" attempt {self.attempt}"
        return f"{self.job_id[:8]}{attempt}"


class Assignment(msgspec.Struct, frozen=True):
    """A job to run now. Its coordinator says when to stop, if it counts attempts.

    ``binding`` is what a sealed payload must have been sealed for; None when the network is not known.
    """

    key: AttemptKey
    job_type: JobType
    payload: bytes
    model: str | None = None
    binding: SealBinding | None = None

    def __repr__(self) -> str:
        """Without the payload, so that no log can hold it."""
        return f"Assignment({self.key}, {self.job_type.value})"


class Output(msgspec.Struct, frozen=True):
    """A job was done. ``json`` holds the very bytes that are hashed, signed and sent."""

    json: bytes
    completed_at: UnixMs

    def __repr__(self) -> str:
        """Without the output, so that no log can hold it."""
        return f"Output({len(self.json)} bytes, {self.completed_at})"


class Failed(msgspec.Struct, frozen=True):
    """A job was not done. ``retryable`` false means that no other worker could do it either."""

    code: str
    message: str
    retryable: bool


class Stopped(msgspec.Struct, frozen=True):
    """A job was stopped because nobody wants its outcome."""


Outcome = Output | Failed | Stopped


class JobError(ComputeRouterError):
    """A job cannot be done. ``failure`` is what the coordinator is told."""

    code: ClassVar[str] = "job_not_done"

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.failure = Failed(code, message, retryable)
