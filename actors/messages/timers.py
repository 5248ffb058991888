"""What the RetryScheduler is told."""

from __future__ import annotations

from typing import Any

import pykka

from compute_router.actors.messages.base import Message
from compute_router.protocol.units import DurationMs


class SetTimer(Message, frozen=True):
    """Tell ``message`` to the sender after ``delay``; a timer of the same key is replaced."""

    key: str
    delay: DurationMs
    message: Message


class CancelTimer(Message, frozen=True):
    """Forget a timer; unknown keys are ignored, because the timer may just have fired."""

    key: str


class ArmTimer(Message, frozen=True):
    """A :class:`SetTimer` together with the actor that wants it."""

    timer: SetTimer
    target: pykka.ActorRef[Any]


class Tick(Message, frozen=True):
    """The earliest timer is due."""
