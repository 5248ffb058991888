"""What goes into the session and what comes out of it. All of it is plain data."""

from __future__ import annotations

from typing import Final, NewType

import msgspec

from compute_router.protocol.messages import CLOSE_REPLACED, Model
from compute_router.protocol.units import DurationMs
from compute_router.worker.jobs import Assignment, AttemptKey, Outcome

NORMAL_CLOSURE: Final = 1000
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008

MonotonicMs = NewType("MonotonicMs", int)
"""A reading of a clock that never goes back, in milliseconds from an arbitrary start."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened to the worker."""


class ModelsChanged(Event, frozen=True):
    """What Ollama offers now, the default model first. The first one of these starts the session."""

    models: tuple[Model, ...]


class Connected(Event, frozen=True):
    """The socket is open."""


class FrameReceived(Event, frozen=True):
    """A text frame came in."""

    text: str


class Disconnected(Event, frozen=True):
    """The socket closed, or could not be opened. ``reason`` is for the log.

    The close code and reason are those of the coordinator's close frame, if there was one.
    """

    reason: str
    close_code: int | None = None
    close_reason: str = ""

    @property
    def replaced(self) -> bool:
        """The coordinator closed this socket because another one proved the same key."""
        if self.close_code == POLICY_VIOLATION:  # how older coordinators say it
            return self.close_reason.startswith("replaced")
        return self.close_code == CLOSE_REPLACED


class ReconnectDue(Event, frozen=True):
    """The delay of a :class:`ScheduleReconnect` is over."""


class Tick(Event, frozen=True):
    """The time in ``Session.wake_at`` has come."""


class DrainAsked(Event, frozen=True):
    """The worker shall take no more jobs, and leave when those that it has are delivered."""


class JobProgressed(Event, frozen=True):
    """An attempt that runs has more of its output: ``delta`` follows what came before."""

    key: AttemptKey
    delta: str


class JobFinished(Event, frozen=True):
    """An executor is done with an attempt, stopped ones included, and free again."""

    key: AttemptKey
    outcome: Outcome


class Effect(msgspec.Struct, frozen=True):
    """Something that the session wants done."""


class Connect(Effect, frozen=True):
    """Open the socket."""


class SendFrame(Effect, frozen=True):
    """Send these bytes as one text frame."""

    data: bytes


class RunJob(Effect, frozen=True):
    """Have a free executor run a job."""

    assignment: Assignment


class StopJob(Effect, frozen=True):
    """Have the executor of an attempt stop; :class:`JobFinished` still comes for it."""

    key: AttemptKey


class CloseSocket(Effect, frozen=True):
    """Close the socket, with a code of RFC 6455; the session expects :class:`Disconnected` after it."""

    code: int
    reason: str


class ScheduleReconnect(Effect, frozen=True):
    """Bring :class:`ReconnectDue` after a delay."""

    delay: DurationMs
    reason: str


class ClosedForGood(Effect, frozen=True):
    """The coordinator does not want this worker; trying again will not help."""

    reason: str


class Drained(Effect, frozen=True):
    """The worker was asked to leave, and may end now."""

    reason: str
