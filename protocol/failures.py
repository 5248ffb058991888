"""Why a job failed, or why one attempt at it did: the codes that seekers see in a failed job's result."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec


class Failure(Enum):
    """Reason for the end of an attempt or of a whole job."""

    NO_ELIGIBLE_WORKER = "no_eligible_worker"
    NO_TRUSTED_WORKER = "no_trusted_worker"
    WORKER_DISCONNECTED = "worker_disconnected"
    WORKER_REJECTED = "worker_rejected"
    WORKER_ERROR = "worker_error"
    LEASE_EXPIRED = "lease_expired"
    RECEIPT_INVALID = "receipt_invalid"
    WORKER_BUSY = "worker_busy"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"


_SENTENCES: Final = {
    Failure.NO_ELIGIBLE_WORKER: "No worker that can run this job became free in time.",
    Failure.NO_TRUSTED_WORKER: "None of the workers paired with this user is connected.",
    Failure.WORKER_DISCONNECTED: "The worker that held the job disconnected.",
    Failure.WORKER_REJECTED: "The worker refused the job.",
    Failure.WORKER_ERROR: "The worker could not run the job.",
    Failure.LEASE_EXPIRED: "The worker did not answer before its lease ran out.",
    Failure.RECEIPT_INVALID: "The worker's result did not match its signed receipt.",
    Failure.WORKER_BUSY: "The worker could not take the job at that moment.",
    Failure.ATTEMPTS_EXHAUSTED: "Every attempt at the job failed.",
    Failure.DEADLINE_EXCEEDED: "The job did not finish within the time that it was given to run.",
    Failure.CANCELLED: "The job was cancelled.",
}


class FailedResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ``result`` of a failed job. ``last_reason`` is why its last attempt ended, if it had one.

    ``refused`` says that the commit itself was answered with this error.
    """

    error: str
    message: str
    last_reason: str | None = None
    detail: str | None = None
    refused: bool = False


def failed_result(
    failure: Failure,
    last_reason: Failure | None = None,
    detail: str | None = None,
    *,
    refused: bool = False,
) -> bytes:
    """JSON bytes of a failed job's result. ``detail`` is the worker's own words, if it gave any."""
    return msgspec.json.encode(
        FailedResult(
            error=failure.value,
            message=_SENTENCES[failure],
            last_reason=last_reason.value if last_reason else None,
            detail=detail or None,
            refused=refused,
        )
    )
