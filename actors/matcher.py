"""The actor that gives jobs to workers. One message at a time, so a claim is atomic without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka

from compute_router.actors.clock import Clock, SteadyMs
from compute_router.actors.matcher_core import MatcherCore
from compute_router.actors.messages import (
    ArmTimer,
    AssignmentRecorded,
    CancelTimer,
    CompletionRecorded,
    Deliver,
    IsLive,
    JobEnded,
    JobTimer,
    Message,
    PublishJob,
    Recover,
    SetTimer,
    StoreRequest,
    Submit,
    Sweep,
    TrustGranted,
    WorkerOffline,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.ports import JobWatchers
from compute_router.actors.runtime import LoopActor, OnDeath

_SWEEP = "sweep"


class Matcher(LoopActor):
    """Feeds events to the :class:`MatcherCore` and carries its messages to the other actors."""

    def __init__(
        self,
        on_death: OnDeath,
        policy: MatchingPolicy,
        clock: Clock,
        store: pykka.ActorRef[Any],
        scheduler: pykka.ActorRef[Any],
        registry: pykka.ActorRef[Any],
        watchers: JobWatchers,
    ) -> None:
        super().__init__(on_death)
        self._core = MatcherCore(policy)
        self._policy = policy
        self._clock = clock
        self._store = store
        self._scheduler = scheduler
        self._registry = registry
        self._watchers = watchers
        core = self._core
        self._reactions: dict[type[Message], Callable[[Any, SteadyMs], Any]] = {
            AssignmentRecorded: core.assignment_recorded,
            CompletionRecorded: core.completion_recorded,
            Deliver: self._pass_on,
            IsLive: lambda message, now: core.is_live(message.job_id),
            JobEnded: lambda message, now: core.job_ended(message),
            JobTimer: core.job_timer,
            Recover: self._recover,
            Submit: core.submit,
            Sweep: self._sweep,
            TrustGranted: core.trust_granted,
            WorkerOffline: lambda message, now: core.worker_offline(message.worker_id, now),
            WorkerOnline: core.worker_online,
            WorkerSaid: core.worker_said,
            WorkerSettled: lambda message, now: core.worker_settled(message.worker_id, now),
        }

    def on_start(self) -> None:
        self._arm_sweep()

    def on_receive(self, message: Any) -> Any:
        try:
            react = self._reactions[type(message)]
        except KeyError:
            raise TypeError(f"Matcher cannot handle {message!r}") from None
        reply = react(message, self._clock.steady_ms())
        for effect in self._core.drain():
            self._carry_out(effect)
        return reply

    def _carry_out(self, effect: Message) -> None:
        match effect:
            case SetTimer():
                self._scheduler.tell(ArmTimer(effect, self.actor_ref))
            case CancelTimer():
                self._scheduler.tell(effect)
            case Deliver():
                self._registry.tell(effect)
            case PublishJob(view):
                self._watchers.publish(view)
            case _:
                self._store.tell(StoreRequest(effect, self.actor_ref))

    def _recover(self, message: Recover, now: SteadyMs) -> None:
        self._core.recover(message.jobs, now, self._clock.unix_ms())

    def _sweep(self, message: Sweep, now: SteadyMs) -> None:
        self._core.sweep(now)
        self._arm_sweep()

    def _pass_on(self, message: Deliver, now: SteadyMs) -> None:
        self._registry.tell(message)

    def _arm_sweep(self) -> None:
        self._carry_out(SetTimer(_SWEEP, self._policy.sweep_interval, Sweep()))
