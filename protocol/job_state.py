"""The life of a job as one table: which event may move it from which state to which."""

from __future__ import annotations

from enum import Enum
from typing import Final

from compute_router.protocol.errors import InvalidTransitionError


class JobStatus(Enum):
    """Where a job stands. The values are what the wire and the database say."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(Enum):
    """What can happen to a job."""

    CLAIM = "claim"
    START = "start"
    REQUEUE = "requeue"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


TRANSITIONS: Final = {
    (JobStatus.PENDING, JobEvent.CLAIM): JobStatus.ASSIGNED,
    (JobStatus.PENDING, JobEvent.FAIL): JobStatus.FAILED,
    (JobStatus.PENDING, JobEvent.CANCEL): JobStatus.CANCELLED,
    (JobStatus.ASSIGNED, JobEvent.START): JobStatus.RUNNING,
    (JobStatus.ASSIGNED, JobEvent.REQUEUE): JobStatus.PENDING,
    # Workers from elsewhere never say that they started.
    (JobStatus.ASSIGNED, JobEvent.COMPLETE): JobStatus.COMPLETED,
    (JobStatus.ASSIGNED, JobEvent.FAIL): JobStatus.FAILED,
    (JobStatus.ASSIGNED, JobEvent.CANCEL): JobStatus.CANCELLED,
    (JobStatus.RUNNING, JobEvent.REQUEUE): JobStatus.PENDING,
    (JobStatus.RUNNING, JobEvent.COMPLETE): JobStatus.COMPLETED,
    (JobStatus.RUNNING, JobEvent.FAIL): JobStatus.FAILED,
    (JobStatus.RUNNING, JobEvent.CANCEL): JobStatus.CANCELLED,
}

FINAL: Final = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
UNFINISHED: Final = frozenset(JobStatus) - FINAL


def advance(status: JobStatus, event: JobEvent) -> JobStatus:
    """State after an event.

    Raises:
        InvalidTransitionError: the table has no such step.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise InvalidTransitionError(status.value, event.value) from None


def sources(event: JobEvent) -> tuple[JobStatus, ...]:
    """States from which an event may happen, in table order: the old statuses an UPDATE must name."""
    return tuple(status for status, possible in TRANSITIONS if possible is event)
