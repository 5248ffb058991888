"""The decisions about payments, as a plain class: events in, messages for other parts out.

The core keeps these promises, which the tests hold it to. Settlement is asked for only when that is durable,
only for a job that is completed or whose authorization is about to expire, and never while an earlier
question about the same payment is open. What nobody knows is settled by the chain alone. The end of a paid
job is told when its payment is decided. And every payment that is not decided has a timer, a question under
way, or a job that is not finished.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from compute_router.actors.facilitator_breaker import FacilitatorBreaker
from compute_router.actors.funds import Funds
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import PublishJob
from compute_router.actors.messages.matcher import Cancel
from compute_router.actors.messages.payment_gate import (
    AskOutcome,
    AskSettle,
    ClaimPayment,
    FacilitatorProbed,
    FundsRefusal,
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
    OpenPayments,
    PaymentRecorded,
    RecordPaymentAsked,
    RecordPaymentConfirmed,
    RecordPaymentCredited,
    RecordPaymentLostTrack,
    RecordPaymentRefused,
    RecordPaymentReleased,
    VoidsLoaded,
)
from compute_router.actors.messages.timers import CancelTimer, SetTimer
from compute_router.actors.open_payment import Busy, OpenPayment, is_newer
from compute_router.actors.payers_doing import payers_doing, told_reason
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.void_payments import VoidPayments
from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.payment_state import OPEN_PAYMENTS, PaymentState
from compute_router.protocol.payments import (
    CREDIT_NETWORK,
    EXPIRED,
    Loss,
    NewPayment,
    NotSettled,
    Payment,
    PaymentView,
    Refused,
    Settled,
    StillOpen,
    Unknown,
)
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.interface import JobView

logger = logging.getLogger(__name__)

_LOSSES: Final = "losses"


class PaymentCore:
    """When each payment is settled, released, looked up or credited. :meth:`drain` takes the messages out."""

    def __init__(self, policy: PaymentPolicy) -> None:
        self._policy = policy
        self._funds = Funds(policy.max_unsettled, policy.max_losses)
        self._open: dict[str, OpenPayment] = {}
        self._by_job: dict[str, OpenPayment] = {}
        self._breaker = FacilitatorBreaker(policy, self._tell_others)
        self._unread = 0
        self._too_much_lost = False
        self._problem: str | None = None
        self._on_idle: list[Callable[[], None]] = []
        self._out: list[Message] = []
        self._voids = VoidPayments(policy, self._tell_others)

    # What the actor and the tests ask

    def __len__(self) -> int:
        """Number of payments that are not at their end."""
        return len(self._open)

    def awaits(self, job_id: str) -> bool:
        """Whether a job has ended whose payment is undecided, so that its end is still to be told."""
        one = self._by_job.get(job_id)
        return one is not None and one.ended is not None and not one.told

    @property
    def mark(self) -> int:
        """Where the settlements stand."""
        return self._funds.mark

    def claim(self, wish: ClaimPayment) -> int | FundsRefusal:
        """Keep a payment for a commit: the mark of the settlements so far; or why that cannot be."""
        if wish.payment_id in self._open:
            # It was used before, as the store will say; or it is the same commit again.
            return self.mark
        return self._funds.claim(wish) or self.mark

    def hold(self, wish: HoldFunds) -> FundsRefusal | None:
        """Hold funds for a commit, or say why that cannot be."""
        return self._funds.hold(wish)

    def losses_end(self, now: UnixMs) -> UnixMs | None:
        """When anybody may pay again, because too much was lost; None: now."""
        return self._funds.losses_end(now)

    def drop(self, job_id: str) -> None:
        """Give up the funds that were held for a commit."""
        self._funds.drop(job_id)

    def drain(self) -> list[Message]:
        """Take the messages that have piled up since the last call."""
        if self._on_idle and not any(map(self._under_way, self._open.values())):
            waiting, self._on_idle = self._on_idle, []
            for call in waiting:
                call()
        out, self._out = self._out, []
        return out

    def _tell_others(self, message: Message) -> None:
        self._out.append(message)

    def start_drain(self, on_idle: Callable[[], None]) -> None:
        """Have ``on_idle`` called as soon as no settlement is under way or due."""
        self._on_idle.append(on_idle)

    def _under_way(self, one: OpenPayment) -> bool:
        if one.payment.state is PaymentState.RESERVED and one.completed:
            return not self._breaker.is_open
        return one.busy in (Busy.STORE, Busy.FACILITATOR) or one.payment.state is PaymentState.SETTLING

    # Jobs come and end

    def opened(self, event: OpenPayments, now: UnixMs) -> None:
        """Take up what a restart found."""
        for loss in event.losses:
            self._funds.lose(loss)
        self._voids.begin()
        self._losses_changed(now)
        for found in event.payments:
            ended = found.job_status if found.job_status in FINAL else None
            self._decide(self._add(found.payment, ended), now)

    def committed(self, event: JobCommitted, now: UnixMs) -> None:
        """A job was stored together with its payment."""
        self._funds.taken(event.payment.payment_id)
        self._decide(self._add(_kept(event.payment, event.job_id), None), now)

    def ended(self, view: JobView, now: UnixMs) -> None:
        """A job's end is durable: settle, or let go. Free jobs are told at once."""
        one = self._by_job.get(view.job_id)
        if one is None:
            # Of a paid job whose view is older than its payment's decision, the store's answer told the end.
            if view.payment is None or view.payment.state not in OPEN_PAYMENTS:
                self._out.append(PublishJob(view))
            if view.payment is not None and view.payment.state is PaymentState.VOID:
                self._voids.expect_one()
            return
        one.ended = view.status
        if view.payment is not None:
            self._adopt(one, view.payment)
        if one.failed:
            one.view = view
        if self._is_over(one):
            self._tell(one, view)
            self._forget(one, now)
            return
        self._tell_a_failure(one)
        one.tries = 0
        self._wake(one, now)

    # The store answers

    def recorded(self, event: PaymentRecorded, now: UnixMs) -> None:
        """A step is durable, or was not possible: go on from where the payment stands."""
        one = self._open.get(event.payment_id)
        if event.payment is not None and event.payment.state is not PaymentState.VOID:
            self._recovered(event.payment, now)
        if one is None:
            return
        if event.payment is None:
            logger.error("the payment of job %s is not in the store; it is dropped here", one.payment.job_id)
            self._forget(one, now)
            return
        before = one.payment.state
        one.busy = None
        self._adopt(one, event.payment)
        if event.view is not None:
            one.ended = event.view.status
            if one.failed:
                one.view = event.view
        if self._is_over(one):
            if event.view is not None:
                self._tell(one, event.view)
            self._forget(one, now)
            return
        match one.payment.state:
            case PaymentState.SETTLING if before is PaymentState.RESERVED:
                self._ask_settle(one)
            case PaymentState.UNKNOWN:
                self._tell_a_failure(one)
                self._rest(one)
            case PaymentState.VOID:
                # Nobody would pay for the rest of the job. If it completes all the same, its end says so.
                self._out.append(Cancel(one.payment.job_id))
            case _:
                self._decide(one, now)

    # The facilitator and the chain answer

    def settle_answered(self, event: SettleAnswered, now: UnixMs) -> None:
        """What the facilitator said. Only the first answer to a question counts."""
        if isinstance(event.answer, Unknown) and event.answer.code is None:
            self._breaker.was_silent()
            self._report()
        else:
            self._wake_all(self._breaker.answered(), now)
        one = self._open.get(event.payment_id)
        if one is None or one.busy is not Busy.FACILITATOR:
            return
        one.busy = None
        known = one.refusal
        if isinstance(event.answer, (Refused, Unknown)):
            self._blame(one, event.answer, event.payer_has, now)
        if isinstance(event.answer, Unknown) and one.payment.state is PaymentState.SETTLING:
            reason = one.refusal or told_reason(event.answer.reason)
            self._record(one, RecordPaymentLostTrack(one.payment.payment_id, reason))
        elif isinstance(event.answer, Unknown):
            self._rest_knowing(one, known)
        elif isinstance(event.answer, Refused) and one.payment.state is PaymentState.UNKNOWN:
            # It may well be refused because the first question was answered with yes.
            self._rest_knowing(one, known)
        elif isinstance(event.answer, Settled) and not self._policy.check_settlements:
            self._confirm(one, event.answer)
        else:
            one.said = event.answer
            if isinstance(event.answer, Settled):
                one.named = event.answer.transaction_ref
            one.tries = 0
            self._ask_outcome(one)

    def outcome_read(self, event: OutcomeRead, now: UnixMs) -> None:
        """What the chain shows."""
        if self._voids.answered(event, now):
            return
        unread = isinstance(event.outcome, Unknown)
        self._unread = self._unread + 1 if unread else 0
        self._report()
        one = self._open.get(event.payment_id)
        if one is None or one.busy is not Busy.CHAIN:
            return
        one.busy = None
        said, one.said = one.said, None
        payment = one.payment
        match event.outcome:
            case Settled():
                self._confirm(one, event.outcome)
            case NotSettled(reason):
                if reason in EXPIRED and one.refusal is not None:
                    reason = one.refusal
                self._record(one, RecordPaymentRefused(payment.payment_id, reason, final=True))
            case Unknown() if isinstance(said, Settled) and payment.state is PaymentState.SETTLING:
                reason = "The facilitator says that it is settled, and the chain cannot be read."
                self._record(one, RecordPaymentLostTrack(payment.payment_id, reason))
            case Unknown() if isinstance(said, Refused):
                # A result is withheld either way, so there is time to see whether the refusal is true.
                one.said = said
                self._rest(one)
            case _ if isinstance(said, Refused):
                reason = one.refusal or told_reason(said.reason)
                self._record(one, RecordPaymentRefused(payment.payment_id, reason))
            case _ if payment.state is PaymentState.SETTLING:
                reason = "The facilitator says that it is settled, but the chain does not show it."
                self._record(one, RecordPaymentLostTrack(payment.payment_id, reason))
            case StillOpen() if self._may_be_asked_for(one, now):
                # The chain cannot carry out one authorization twice, so asking for it again is safe.
                self._ask_settle(one)
            case _:
                self._rest(one)

    def probed(self, event: FacilitatorProbed, now: UnixMs) -> None:
        """How the facilitator is, after it was down."""
        self._wake_all(self._breaker.probed(event.problem), now)

    def probe_due(self, event: ProbeDue, now: UnixMs) -> None:
        """See whether the facilitator is back."""
        self._breaker.probe_due()

    # What was given up, and what was lost

    def voids_due(self, event: VoidsDue, now: UnixMs) -> None:
        """Time to look at payments that were given up."""
        self._voids.due()

    def voids_loaded(self, event: VoidsLoaded, now: UnixMs) -> None:
        """Payments that were given up, and have expired."""
        self._voids.loaded(event, now)

    def losses_aged(self, event: LossesAged, now: UnixMs) -> None:
        """What was lost may be a day old."""
        self._losses_changed(now)

    def _recovered(self, payment: PaymentView, now: UnixMs) -> None:
        if self._funds.recover(payment.payment_id):
            logger.info("the money for job %s came after all", payment.job_id)
            self._losses_changed(now)

    def _losses_changed(self, now: UnixMs) -> None:
        until = self._funds.losses_end(now)
        if until is not None:
            delay = DurationMs(max(1, min(until - now, self._policy.max_nap)))
            self._out.append(SetTimer(_LOSSES, delay, LossesAged()))
        self._too_much_lost = until is not None
        self._report()

    # Time passes

    def due(self, event: PaymentDue, now: UnixMs) -> None:
        """A timer of a payment is over."""
        one = self._open.get(event.payment_id)
        if one is not None:
            one.armed = False
            self._wake(one, now)

    # One payment

    def _decide(self, one: OpenPayment, now: UnixMs) -> None:
        if one.busy is not None or one.resting:
            return
        payment_id = one.payment.payment_id
        match one.payment.state:
            case PaymentState.RESERVED if one.failed:
                self._record(one, RecordPaymentReleased(payment_id))
            case PaymentState.RESERVED if not self._wants_money(one, now):
                self._nap(one, DurationMs(one.payment.expires_at - self._policy.early - now))
            case PaymentState.RESERVED if self._breaker.is_open and now < one.payment.expires_at:
                # While nothing was asked, nothing is in doubt.
                self._breaker.wait(payment_id)
                self._nap(one, DurationMs(one.payment.expires_at - now))
            case PaymentState.RESERVED:
                self._record(one, RecordPaymentAsked(payment_id))
            case PaymentState.SETTLING if one.said is None:
                reason = "The coordinator stopped before it heard the answer."
                self._record(one, RecordPaymentLostTrack(payment_id, reason))
            case PaymentState.SETTLING | PaymentState.UNKNOWN:
                self._ask_outcome(one)
            case PaymentState.SETTLED if one.failed:
                self._record(one, RecordPaymentCredited(payment_id))
            case _:
                # Only the end of the job is missing.
                pass

    def _wants_money(self, one: OpenPayment, now: UnixMs) -> bool:
        if one.ended is not None:
            return one.completed
        return now >= one.payment.expires_at - self._policy.early

    def _may_be_asked_for(self, one: OpenPayment, now: UnixMs) -> bool:
        return self._wants_money(one, now) and not self._breaker.is_open and now < one.payment.expires_at

    def _blame(self, one: OpenPayment, answer: Refused | Unknown, has: MicroUsd | None, now: UnixMs) -> None:
        """Keep why a settlement was refused if that is the payer's doing. After its time nothing is."""
        if now < one.payment.expires_at:
            own = self._policy.facilitator_is_own
            doing = payers_doing(answer, one.payment.amount, has, facilitator_is_own=own)
            one.refusal = doing or one.refusal

    def _is_over(self, one: OpenPayment) -> bool:
        """Whether both the job and its payment are at their end."""
        state = one.payment.state
        if state is PaymentState.SETTLED:
            return one.completed
        return one.ended is not None and state not in OPEN_PAYMENTS

    def _record(self, one: OpenPayment, request: Message) -> None:
        one.busy = Busy.STORE
        self._out.append(request)

    def _confirm(self, one: OpenPayment, settled: Settled) -> None:
        self._record(one, RecordPaymentConfirmed(one.payment.payment_id, settled.transaction_ref))

    def _ask_settle(self, one: OpenPayment) -> None:
        one.busy = Busy.FACILITATOR
        self._out.append(AskSettle(one.payment))

    def _ask_outcome(self, one: OpenPayment) -> None:
        one.busy = Busy.CHAIN
        self._out.append(AskOutcome(msgspec.structs.replace(one.payment, transaction_ref=one.named)))

    def _rest(self, one: OpenPayment) -> None:
        """Leave a payment alone for a while, longer each time."""
        one.resting = True
        self._arm(one, self._policy.backoff(one.tries))
        one.tries += 1

    def _rest_knowing(self, one: OpenPayment, known: str | None) -> None:
        """Leave a payment alone, once it is on record why it was refused; ``known`` is what is on record."""
        if one.refusal is None or one.refusal == known:
            self._rest(one)
        else:
            self._record(one, RecordPaymentLostTrack(one.payment.payment_id, one.refusal))

    def _nap(self, one: OpenPayment, wait: DurationMs) -> None:
        self._arm(one, DurationMs(max(1, min(wait, self._policy.max_nap))))

    def _wake_all(self, payment_ids: list[str], now: UnixMs) -> None:
        self._report()
        for payment_id in payment_ids:
            self._wake(self._open[payment_id], now)

    def _wake(self, one: OpenPayment, now: UnixMs) -> None:
        one.resting = False
        self._decide(one, now)

    def _arm(self, one: OpenPayment, delay: DurationMs) -> None:
        one.armed = True
        payment_id = one.payment.payment_id
        self._out.append(SetTimer(_timer(payment_id), delay, PaymentDue(payment_id)))

    def _tell_a_failure(self, one: OpenPayment) -> None:
        """Tell the end of a job without a result when it may take long until its payment is decided."""
        if one.payment.state is PaymentState.UNKNOWN and one.view is not None:
            self._tell(one, one.view)

    def _tell(self, one: OpenPayment, view: JobView) -> None:
        if one.told:
            return
        one.told = True
        payment = one.payment
        if view.payment is None or view.payment.state is not payment.state:
            view = msgspec.structs.replace(view, payment=payment.view())
        self._out.append(PublishJob(view))

    def _add(self, payment: Payment, ended: JobStatus | None) -> OpenPayment:
        one = OpenPayment(payment, ended)
        self._open[payment.payment_id] = self._by_job[payment.job_id] = one
        if payment.state in OPEN_PAYMENTS:
            self._funds.add(payment.payer, payment.amount)
        return one

    def _adopt(self, one: OpenPayment, news: PaymentView) -> None:
        """Take over how a payment stands in the store; news that is older than ours is passed over."""
        before = one.payment
        if not is_newer(news.state, before.state):
            return
        if before.state in OPEN_PAYMENTS and news.state not in OPEN_PAYMENTS:
            if news.state is PaymentState.VOID:
                self._funds.add(before.payer, -before.amount)
            else:
                self._funds.settled(before.payer, before.amount)
        one.payment = msgspec.structs.replace(
            before, state=news.state, transaction_ref=news.transaction_ref, reason=news.reason
        )
        if news.state is PaymentState.VOID and one.completed:
            logger.warning("the payment of completed job %s was refused: %s", before.job_id, news.reason)

    def _forget(self, one: OpenPayment, now: UnixMs) -> None:
        payment = one.payment
        if payment.state is PaymentState.VOID:
            self._voids.expect_one()
            if one.completed:
                self._funds.lose(Loss(payment.payment_id, payment.payer, payment.amount, now, payment.reason))
                self._losses_changed(now)
        if one.armed:
            self._out.append(CancelTimer(_timer(payment.payment_id)))
        if payment.state in OPEN_PAYMENTS:
            self._funds.add(payment.payer, -payment.amount)
        self._breaker.forget(payment.payment_id)
        del self._open[payment.payment_id]
        del self._by_job[payment.job_id]
        self._report()

    # What the operator is told

    def _report(self) -> None:
        problem = None
        if self._too_much_lost:
            problem = (
                f"Paid jobs are refused, because ${self._funds.lost / 1_000_000:.6f} was lost within 24 "
                "hours on completed jobs whose payment never came; raise --max-losses to go on before."
            )
        elif self._breaker.is_open:
            problem = "The facilitator does not answer; results of paid jobs wait for it."
        elif self._open and self._unread >= self._policy.failures_until_down:
            problem = "The chain cannot be read; payments in doubt wait for it."
        if problem != self._problem:
            self._problem = problem
            self._out.append(ReportPayments(problem))


def _timer(payment_id: str) -> str:
    return f"payment:{payment_id}"


def _kept(new: NewPayment, job_id: str) -> Payment:
    """A payment as the store has it now that it was reserved."""
    given = {field: getattr(new, field) for field in NewPayment.__struct_fields__}
    state = PaymentState.SETTLED if new.network == CREDIT_NETWORK else PaymentState.RESERVED
    return Payment(job_id=job_id, state=state, **given)
