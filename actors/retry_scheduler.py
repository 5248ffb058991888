"""The actor that owns time: every deadline of the system sits in its one heap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka

from compute_router.actors.clock import Clock, SteadyMs
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.timers import ArmTimer, CancelTimer, Tick
from compute_router.actors.runtime import LoopActor, OnDeath
from compute_router.actors.timer_heap import TimerHeap
from compute_router.protocol.units import DurationMs

WakeUp = Callable[[DurationMs, Callable[[], None]], Callable[[], None]]
"""Calls a function after a delay; returns a function that takes the call back."""


class RetryScheduler(LoopActor):
    """Tells each message to its actor when its time has come. One loop timer serves all of them."""

    def __init__(self, on_death: OnDeath, clock: Clock, wake_up: WakeUp) -> None:
        super().__init__(on_death)
        self._clock = clock
        self._wake_up = wake_up
        self._timers: TimerHeap[tuple[pykka.ActorRef[Any], Message]] = TimerHeap()
        self._armed_for: SteadyMs | None = None
        self._disarm: Callable[[], None] = lambda: None

    def on_receive(self, message: Any) -> None:
        match message:
            case ArmTimer(timer, target):
                due = SteadyMs(self._clock.steady_ms() + timer.delay)
                self._timers.set(timer.key, due, (target, timer.message))
                if self._armed_for is None or due < self._armed_for:
                    self._arm(due)
            case CancelTimer(key):
                self._timers.cancel(key)
            case Tick():
                self._armed_for = None
                for target, due_message in self._timers.pop_due(self._clock.steady_ms()):
                    # While the system stops, whoever set the timer may be gone before this actor is.
                    if target.is_alive():
                        target.tell(due_message)
                next_due = self._timers.next_due()
                if next_due is not None:
                    self._arm(next_due)
            case _:
                raise TypeError(f"RetryScheduler cannot handle {message!r}")

    def on_stop(self) -> None:
        self._disarm()

    def _arm(self, due: SteadyMs) -> None:
        self._disarm()
        self._armed_for = due
        delay = DurationMs(max(due - self._clock.steady_ms(), 0))
        self._disarm = self._wake_up(delay, self._tick)

    def _tick(self) -> None:
        if self.actor_ref.is_alive():
            self.actor_ref.tell(Tick())
