"""The actor that gives jobs to workers. One message at a time, so a claim is atomic without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka

from compute_router.actors.clock import Clock, SteadyMs
from compute_router.actors.matcher_core import MatcherCore
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import Chunk, Progress, PublishJob
from compute_router.actors.messages.job_store import (
    AssignmentRecorded,
    CompletionRecorded,
    JobEnded,
    KeepReceipt,
    NoteAlive,
)
from compute_router.actors.messages.matcher import (
    Cancel,
    CanServe,
    FindStanding,
    FlushRecords,
    Follow,
    GiveBack,
    IsLive,
    JobTimer,
    LeasesRenewed,
    ListWorkers,
    Recover,
    Reserve,
    SlotFreed,
    StartDrain,
    Submit,
    Sweep,
    TrustGranted,
    TrustRevoked,
    WorkerDraining,
    WorkerOffline,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.stored_earnings import PutPayoutAddress
from compute_router.actors.messages.stored_trust import (
    AuditJudged,
    PutWorkerRecords,
    TrackRecordsLoaded,
    WorkerRecordLoaded,
)
from compute_router.actors.messages.timers import ArmTimer, CancelTimer, SetTimer
from compute_router.actors.messages.worker_registry import BarKey, Deliver
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.ports import JobWatchers
from compute_router.actors.runtime import LoopActor, OnDeath
from compute_router.protocol.units import DurationMs, UnixMs

_SWEEP = "sweep"
_FLUSH = "records"
_FLUSH_EVERY = DurationMs(1_000)
# So that a large pool costs no more; what changed first goes first, and the others follow in the next second.
_MOST_RECORDS = 250
_IDLE_SWEEPS_A_NOTE = 2


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
        self._idle_sweeps = 0
        # Read once: the two clocks do not tick together, and a time that is shown must not change by that.
        started = clock.unix_ms() - clock.steady_ms()
        core = self._core
        self._reactions: dict[type[Message], Callable[[Any, SteadyMs], Any]] = {
            AssignmentRecorded: core.assignment_recorded,
            AuditJudged: core.audit_judged,
            CompletionRecorded: core.completion_recorded,
            Deliver: self._pass_on,
            CanServe: core.can_serve,
            Cancel: core.cancel,
            FindStanding: lambda message, now: core.standing(message.pubkey, clock.unix_ms()),
            FlushRecords: self._flush,
            Follow: lambda message, now: core.follow(message.job_id, message.user_id),
            GiveBack: lambda message, now: core.give_back(message.user_id),
            IsLive: lambda message, now: core.is_live(message.job_id, message.user_id),
            KeepReceipt: self._pass_on,
            JobEnded: core.job_ended,
            JobTimer: core.job_timer,
            LeasesRenewed: core.leases_renewed,
            ListWorkers: lambda message, now: core.list_workers(message, now, UnixMs(now + started)),
            Recover: core.recover,
            PutPayoutAddress: self._pass_on,
            Reserve: lambda message, now: core.reserve(message.user_id, message.at_once),
            SlotFreed: core.slot_freed,
            StartDrain: lambda message, now: core.start_drain(message.on_idle),
            Submit: core.submit,
            Sweep: self._sweep,
            TrackRecordsLoaded: lambda message, now: core.load_records(
                message.records, all_of_them=message.all_of_them
            ),
            TrustGranted: core.trust_granted,
            TrustRevoked: core.trust_revoked,
            WorkerDraining: lambda message, now: core.worker_draining(message.worker_id),
            WorkerOffline: lambda message, now: core.worker_offline(message.worker_id, now),
            WorkerOnline: core.worker_online,
            WorkerRecordLoaded: core.record_loaded,
            WorkerSaid: core.worker_said,
            WorkerSettled: core.worker_settled,
        }

    def on_start(self) -> None:
        self._arm_sweep()
        self._arm_flush()

    def on_stop(self) -> None:
        self._store_records(None)

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
            case BarKey():
                self._registry.tell(effect)
                # What the key was barred for belongs beside the bar.
                self._store_records(None)
            case PublishJob(view):
                self._watchers.publish(view)
            case Progress() | Chunk():
                self._watchers.progress(effect)
            case _:
                self._store.tell(StoreRequest(effect, self.actor_ref))

    def _sweep(self, message: Sweep, now: SteadyMs) -> None:
        self._core.sweep(now)
        self._core.place_audits(now)
        self._idle_sweeps = 0 if len(self._core) else self._idle_sweeps + 1
        # Deadlines stand still while the coordinator is down; this tells the next run since when. While there
        # are no jobs, it finds out now and then that the database cannot be written.
        if self._idle_sweeps % _IDLE_SWEEPS_A_NOTE == 0:
            self._carry_out(NoteAlive())
        self._arm_sweep()

    def _flush(self, message: FlushRecords, now: SteadyMs) -> None:
        self._store_records(_MOST_RECORDS)
        self._arm_flush()

    def _store_records(self, limit: int | None) -> None:
        changed = self._core.changed_records(self._clock.unix_ms(), limit)
        if changed and self._store.is_alive():
            self._carry_out(PutWorkerRecords(changed))

    def _arm_flush(self) -> None:
        self._carry_out(SetTimer(_FLUSH, _FLUSH_EVERY, FlushRecords()))

    def _pass_on(self, message: Deliver | KeepReceipt | PutPayoutAddress, now: SteadyMs) -> None:
        self._carry_out(message)

    def _arm_sweep(self) -> None:
        self._carry_out(SetTimer(_SWEEP, self._policy.sweep_interval, Sweep()))
