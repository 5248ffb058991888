"""The actor that gives jobs to workers. One message at a time, so a claim is atomic without a lock."""

from __future__ import annotations

from typing import Any

import pykka

from compute_router.actors.clock import Clock
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

    def on_start(self) -> None:
        self._arm_sweep()

    def on_receive(self, message: Any) -> Any:
        now = self._clock.steady_ms()
        core = self._core
        reply: Any = None
        match message:
            case WorkerSaid():
                core.worker_said(message, now)
            case Submit():
                reply = core.submit(message, now)
            case AssignmentRecorded():
                core.assignment_recorded(message, now)
            case CompletionRecorded():
                core.completion_recorded(message, now)
            case IsLive(job_id):
                return core.is_live(job_id)
            case JobEnded():
                core.job_ended(message)
            case JobTimer():
                core.job_timer(message, now)
            case WorkerOnline():
                core.worker_online(message, now)
            case WorkerSettled(worker_id):
                core.worker_settled(worker_id, now)
            case WorkerOffline(worker_id):
                core.worker_offline(worker_id, now)
            case TrustGranted():
                core.trust_granted(message, now)
            case Sweep():
                core.sweep(now)
                self._arm_sweep()
            case Recover(jobs):
                core.recover(jobs, now, self._clock.unix_ms())
            case Deliver():
                self._registry.tell(message)
            case _:
                raise TypeError(f"Matcher cannot handle {message!r}")
        for effect in core.drain():
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

    def _arm_sweep(self) -> None:
        self._carry_out(SetTimer(_SWEEP, self._policy.sweep_interval, Sweep()))
