"""The actor that has jobs paid for: it holds funds, settles, and keeps results back until they are paid."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec
import pykka

from compute_router.actors.clock import Clock
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import Chunk, Progress, PublishJob
from compute_router.actors.messages.job_store import JobEnded
from compute_router.actors.messages.matcher import Cancel
from compute_router.actors.messages.payment_gate import (
    Admit,
    AskHealth,
    AskOutcome,
    AskSettle,
    AskVoid,
    AwaitsPayment,
    CheckLosses,
    ClaimPayment,
    DrainPayments,
    DropFunds,
    FacilitatorProbed,
    FundsMark,
    HoldFunds,
    JobCommitted,
    LossesAged,
    OutcomeRead,
    PaymentDue,
    ProbeDue,
    ReportPayments,
    SettleAnswered,
    VoidsDue,
)
from compute_router.actors.messages.payment_steps import (
    LoadVoids,
    OpenPayments,
    PaymentRecorded,
    RecordVoidLookedAt,
    VoidsLoaded,
)
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.timers import ArmTimer, CancelTimer, SetTimer
from compute_router.actors.payment_core import PaymentCore
from compute_router.actors.payment_executor import Executor
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.ports import JobWatchers
from compute_router.actors.runtime import LoopActor, OnDeath
from compute_router.actors.worker_registry import AttachMatcher
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import JobView


class PaymentMode(Enum):
    """Whether commits are paid for."""

    OFF = "off"
    ON = "on"


class Till(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate works with when payments are on.

    ``executor`` makes the one that tells its answers to the function that it is given. ``report`` is told a
    standing problem, or None any more.
    """

    policy: PaymentPolicy
    clock: Clock
    store: pykka.ActorRef[Any]
    scheduler: pykka.ActorRef[Any]
    watchers: JobWatchers
    executor: Callable[[Callable[[Message], None]], Executor]
    report: Callable[[str | None], None]


class PaymentGate(LoopActor):
    """Feeds events to the :class:`PaymentCore` and carries its messages to whoever does what they say.

    Without a till payments are off: every job is let in, and nothing else can be asked of the gate.
    """

    def __init__(self, on_death: OnDeath, till: Till | None = None) -> None:
        super().__init__(on_death)
        self._paid = None if till is None else _PaidGate(till, self.actor_ref)

    def on_stop(self) -> None:
        if self._paid is not None:
            self._paid.close()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Admit):
            return None
        if self._paid is None:
            raise TypeError(f"PaymentGate cannot handle {message!r} while payments are off")
        return self._paid.receive(message)


class _PaidGate:
    """Where a gate whose payments are on does its work."""

    def __init__(self, till: Till, gate: pykka.ActorRef[Any]) -> None:
        self._till = till
        self._gate = gate
        self._matcher: pykka.ActorRef[Any] | None = None
        self._core = PaymentCore(till.policy)
        self._executor = till.executor(self._hear)
        self._recording = 0
        self._to_record: deque[Message] = deque()
        core = self._core
        self._reactions: dict[type[Message], Callable[[Any, UnixMs], Any]] = {
            AttachMatcher: self._attach,
            AwaitsPayment: lambda message, now: core.awaits(message.job_id),
            DrainPayments: lambda message, now: core.start_drain(message.on_idle),
            CheckLosses: lambda message, now: core.losses_end(now),
            ClaimPayment: lambda message, now: core.claim(message),
            DropFunds: lambda message, now: core.drop(message.job_id),
            FacilitatorProbed: core.probed,
            FundsMark: lambda message, now: core.mark,
            HoldFunds: lambda message, now: core.hold(message),
            JobCommitted: core.committed,
            JobEnded: self._ended,
            LossesAged: core.losses_aged,
            OpenPayments: core.opened,
            OutcomeRead: core.outcome_read,
            PaymentDue: core.due,
            PaymentRecorded: self._recorded,
            ProbeDue: core.probe_due,
            SettleAnswered: core.settle_answered,
            VoidsDue: core.voids_due,
            VoidsLoaded: core.voids_loaded,
        }

    def close(self) -> None:
        """Ask nobody any more."""
        self._executor.close()

    def receive(self, message: Any) -> Any:
        """Handle one message and carry out what follows from it."""
        try:
            react = self._reactions[type(message)]
        except KeyError:
            raise TypeError(f"PaymentGate cannot handle {message!r}") from None
        reply = react(message, self._till.clock.unix_ms())
        for effect in self._core.drain():
            self._carry_out(effect)
        return reply

    def _carry_out(self, effect: Message) -> None:
        match effect:
            case PublishJob(view):
                self._till.watchers.publish(view)
            case SetTimer():
                self._till.scheduler.tell(ArmTimer(effect, self._gate))
            case CancelTimer():
                self._till.scheduler.tell(effect)
            case AskSettle(payment):
                self._executor.settle(payment)
            case AskOutcome(payment):
                self._executor.read(payment)
            case AskVoid(payment):
                self._executor.look(payment)
            case LoadVoids() | RecordVoidLookedAt():
                self._till.store.tell(StoreRequest(effect, self._gate))
            case AskHealth():
                self._executor.probe()
            case ReportPayments(problem):
                self._till.report(problem)
            case Cancel():
                if self._matcher is not None and self._matcher.is_alive():
                    self._matcher.tell(effect)
            case _:
                self._to_record.append(effect)
                self._record()

    def _record(self) -> None:
        """Give steps to the store, a few at a time: commits of others must not queue behind thousands."""
        while self._to_record and self._recording < self._till.policy.steps_at_once:
            self._recording += 1
            self._till.store.tell(StoreRequest(self._to_record.popleft(), self._gate))

    def _recorded(self, message: PaymentRecorded, now: UnixMs) -> None:
        self._recording -= 1
        self._core.recorded(message, now)
        self._record()

    def _hear(self, answer: Message) -> None:
        if self._gate.is_alive():
            self._gate.tell(answer)

    def _attach(self, message: AttachMatcher, now: UnixMs) -> None:
        self._matcher = message.matcher

    def _ended(self, message: JobEnded, now: UnixMs) -> None:
        if message.view is not None:
            self._core.ended(message.view, now)


class PaidWatchers:
    """Stands between the Matcher and those who wait: every end goes through the gate first."""

    def __init__(self, gate: pykka.ActorRef[Any], watchers: JobWatchers) -> None:
        self._gate = gate
        self._watchers = watchers

    def progress(self, step: Progress | Chunk) -> None:
        """A job that is followed moved on. Pieces of output are withheld: nobody has paid for them yet."""
        if not isinstance(step, Chunk):
            self._watchers.progress(step)

    def publish(self, view: JobView) -> None:
        """A job ended, and that is durable."""
        self._gate.tell(JobEnded(view.job_id, view))
