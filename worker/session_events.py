"""What goes into the session and what comes out of it. All of it is plain data."""

from __future__ import annotations

from typing import NewType

import msgspec

from compute_router.protocol.messages import Model
from compute_router.protocol.units import DurationMs
from compute_router.worker.jobs import Assignment, AttemptKey, Outcome

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
    """The socket closed, or could not be opened. ``reason`` is for the log."""

    reason: str


class ReconnectDue(Event, frozen=True):
    """The delay of a :class:`ScheduleReconnect` is over."""


class Tick(Event, frozen=True):
    """The time in ``Session.wake_at`` has come."""


class JobFinished(Event, frozen=True):
    """An executor is done with an attempt and free again."""

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


class CloseSocket(Effect, frozen=True):
    """Close the socket; the session expects :class:`Disconnected` after it."""

    reason: str


class ScheduleReconnect(Effect, frozen=True):
    """Bring :class:`ReconnectDue` after a delay."""

    delay: DurationMs
    reason: str


class ClosedForGood(Effect, frozen=True):
    """The coordinator does not want this worker; trying again will not help."""

    reason: str
