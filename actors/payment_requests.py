"""What each request about money does, as plain functions over the storage interface.

Money follows its job in one transaction: whatever ends a job also books what that means for its payment.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from compute_router.actors.clock import Clock
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import CreditUsedUp, InsertJob, PaymentUsed
from compute_router.actors.messages.payment_steps import (
    LoadOpenPayments,
    LoadVoids,
    OpenPayment,
    OpenPayments,
    PaymentRecorded,
    RecordPaymentAsked,
    RecordPaymentConfirmed,
    RecordPaymentCredited,
    RecordPaymentLostTrack,
    RecordPaymentRefused,
    RecordPaymentReleased,
    RecordVoidLookedAt,
    VoidsLoaded,
)
from compute_router.actors.messages.stored_earnings import (
    FindCredit,
    FindPayment,
    GetEarnings,
    GetMoneyTotals,
    ListPayable,
    LoadOpenPayouts,
    PutPayoutAddress,
    RecordPayout,
    RecordPayouts,
    WorkerEarnings,
)
from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.ledger import (
    Consequence,
    Journal,
    JournalKind,
    after_completion,
    after_failure,
    after_payout,
    after_reservation,
    after_step,
    kind_of,
)
from compute_router.protocol.payment_state import PaymentEvent
from compute_router.protocol.payments import Credit, MoneyTotals, NewPayment, Payable, Payment, Payout
from compute_router.protocol.payout_state import STORES_TRANSACTION, PayoutEvent
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import JobView, Store

VOIDS_LOOKED_AT_AFTER: Final = DurationMs(120_000)
"""So long after an authorization has expired no chain carries it out any more, whatever its clock says."""


def refuse_payment(store: Store, payment: NewPayment) -> PaymentUsed | CreditUsedUp | None:
    """Why no job can be kept with this payment; None: :func:`reserve` will succeed."""
    earlier = store.payment(payment.payment_id)
    if earlier is not None:
        return PaymentUsed(earlier.job_id)
    if payment.spends is not None:
        credit = store.credit(payment.spends)
        if credit is None or credit.payer != payment.payer or credit.amount_left < payment.amount:
            return CreditUsedUp()
    return None


def reserve(store: Store, request: InsertJob, payment: NewPayment, now: UnixMs) -> None:
    """Keep the payment of a job that was just stored."""
    reserved = store.reserve_payment(payment, request.job.job_id, now)
    assert reserved, "its id was looked up before"
    if payment.spends is not None:
        spent = store.spend_credit(payment.spends, payment.payer, payment.amount)
        assert spent, "the credit was looked at before"
    for journal in after_reservation(payment):
        store.post(journal, now)


def book_completion(store: Store, view: JobView, worker_pubkey: str, now: UnixMs) -> JobView:
    """Credit the worker of a paid job that was just completed."""
    assert view.payment is not None
    for journal in after_completion(view.payment, worker_pubkey):
        _post(store, view.payment.payment_id, journal, now)
    return view


def book_failure(store: Store, view: JobView, now: UnixMs) -> JobView:
    """Release or give back the money of a paid job that just ended without an output."""
    assert view.payment is not None
    payment = store.payment(view.payment.payment_id)
    assert payment is not None
    _follow(store, payment, after_failure(payment), now)
    return _shown(store, view, payment.payment_id)


def _follow(store: Store, payment: Payment, consequence: Consequence, now: UnixMs) -> None:
    for journal in consequence.journals:
        _post(store, payment.payment_id, journal, now)
    for step in consequence.steps:
        moved = store.move_payment(payment.payment_id, step, now, look_at=_look_at(payment, step))
        assert moved, "a consequence is possible"
        if step is PaymentEvent.CREDIT:
            _keep_credit(store, payment, now)


def _post(store: Store, payment_id: str, journal: Journal, now: UnixMs) -> None:
    """Write a journal of a payment; a loss is also the payer's debt from then on."""
    store.post(journal, now)
    kind = kind_of(journal)
    if kind in (JournalKind.LOSS, JournalKind.RECOVERY):
        noted = store.note_loss(payment_id, now if kind is JournalKind.LOSS else None)
        assert noted, "a payment is lost once, and what was lost comes once"


def _look_at(payment: Payment, event: PaymentEvent, *, final: bool = False) -> UnixMs | None:
    """When the chain is asked whether somebody carried out what this step gives up."""
    if final or event not in (PaymentEvent.REFUSE, PaymentEvent.RELEASE):
        return None
    return UnixMs(payment.expires_at + VOIDS_LOOKED_AT_AFTER)


def _keep_credit(store: Store, payment: Payment, now: UnixMs) -> None:
    store.put_credit(
        Credit(
            token_hash=payment.credit_token_hash,
            payer=payment.payer,
            payment_id=payment.payment_id,
            amount_left=payment.amount,
        ),
        now,
    )


def _record(
    store: Store,
    clock: Clock,
    payment_id: str,
    event: PaymentEvent,
    *,
    transaction_ref: str | None = None,
    reason: str | None = None,
    final: bool = False,
) -> PaymentRecorded:
    """Make a step of a payment, if it is possible, with all that follows from it."""
    now = clock.unix_ms()
    before = store.payment(payment_id)
    if before is None:
        return PaymentRecorded(payment_id, None)
    job = store.job_view(before.job_id)
    status = JobStatus.FAILED if job is None else job.status
    moved = _sensible(event, job) and store.move_payment(
        payment_id,
        event,
        now,
        transaction_ref=transaction_ref,
        reason=reason,
        look_at=_look_at(before, event, final=final),
    )
    if moved:
        if event is PaymentEvent.CREDIT:
            _keep_credit(store, before, now)
        _follow(store, before, after_step(before, event, status), now)
        if job is not None and event is PaymentEvent.CONFIRM and status is JobStatus.COMPLETED:
            assert transaction_ref is not None, "what is confirmed has a transaction"
            job = _named(store, job, transaction_ref)
    after = store.payment(payment_id)
    assert after is not None
    if job is None or status not in FINAL:
        return PaymentRecorded(payment_id, after.view())
    return PaymentRecorded(payment_id, after.view(), msgspec.structs.replace(job, payment=after.view()))


def _named(store: Store, job: JobView, transaction_ref: str) -> JobView:
    """Write a settlement on the job's receipt, if there is one already."""
    if job.receipt is None:
        return job
    named = store.name_settlement(job.job_id, transaction_ref)
    assert named, "a payment is confirmed once"
    receipt = msgspec.structs.replace(job.receipt, payment_ref=transaction_ref)
    return msgspec.structs.replace(job, receipt=receipt)


def _sensible(event: PaymentEvent, job: JobView | None) -> bool:
    """Whether an event fits the job: what is or may be delivered is neither given back nor given away.

    A deleted job may have been completed. Whatever a failed one had to give back it gave back before.
    """
    if event in (PaymentEvent.CREDIT, PaymentEvent.RELEASE):
        return job is not None and job.status in FINAL and job.status is not JobStatus.COMPLETED
    return True


def _shown(store: Store, view: JobView, payment_id: str) -> JobView:
    payment = store.payment(payment_id)
    return msgspec.structs.replace(view, payment=None if payment is None else payment.view())


def _asked(store: Store, clock: Clock, request: RecordPaymentAsked) -> PaymentRecorded:
    return _record(store, clock, request.payment_id, PaymentEvent.ASK)


def _confirmed(store: Store, clock: Clock, request: RecordPaymentConfirmed) -> PaymentRecorded:
    return _record(
        store, clock, request.payment_id, PaymentEvent.CONFIRM, transaction_ref=request.transaction_ref
    )


def _refused(store: Store, clock: Clock, request: RecordPaymentRefused) -> PaymentRecorded:
    return _record(
        store, clock, request.payment_id, PaymentEvent.REFUSE, reason=request.reason, final=request.final
    )


def _lost_track(store: Store, clock: Clock, request: RecordPaymentLostTrack) -> PaymentRecorded:
    return _record(store, clock, request.payment_id, PaymentEvent.LOSE_TRACK, reason=request.reason)


def _released(store: Store, clock: Clock, request: RecordPaymentReleased) -> PaymentRecorded:
    return _record(store, clock, request.payment_id, PaymentEvent.RELEASE)


def _credited(store: Store, clock: Clock, request: RecordPaymentCredited) -> PaymentRecorded:
    return _record(store, clock, request.payment_id, PaymentEvent.CREDIT)


def _load_open_payments(store: Store, clock: Clock, request: LoadOpenPayments) -> OpenPayments:
    opened = tuple(OpenPayment(payment, status) for payment, status in store.open_payments())
    return OpenPayments(opened, store.ledger_sum(), store.losses())


def _load_voids(store: Store, clock: Clock, request: LoadVoids) -> VoidsLoaded:
    return VoidsLoaded(store.payments_to_look_at(clock.unix_ms(), request.limit), store.next_look())


def _void_looked_at(store: Store, clock: Clock, request: RecordVoidLookedAt) -> None:
    store.look_again(request.payment_id, request.again)


def _find_payment(store: Store, clock: Clock, request: FindPayment) -> Payment | None:
    return store.payment(request.payment_id)


def _find_credit(store: Store, clock: Clock, request: FindCredit) -> Credit | None:
    return store.credit(request.token_hash)


def _get_earnings(store: Store, clock: Clock, request: GetEarnings) -> WorkerEarnings:
    earnings = store.earnings(request.pubkey)
    return WorkerEarnings(
        request.pubkey,
        earnings.earned,
        earnings.paid_out,
        earnings.under_way,
        store.payout_address(request.pubkey),
        store.payouts_of(request.pubkey, request.limit),
    )


def _get_money_totals(store: Store, clock: Clock, request: GetMoneyTotals) -> MoneyTotals:
    return store.money_totals()


def _put_payout_address(store: Store, clock: Clock, request: PutPayoutAddress) -> None:
    store.put_payout_address(request.address)


def _list_payable(store: Store, clock: Clock, request: ListPayable) -> tuple[Payable, ...]:
    return store.payable(request.threshold, request.limit)


def _record_payouts(store: Store, clock: Clock, request: RecordPayouts) -> tuple[Payout, ...]:
    payouts = tuple(
        Payout(
            payout_id=str(uuid.uuid4()),
            pubkey=payable.pubkey,
            address=payable.address,
            amount=payable.amount,
            created_at=clock.unix_ms(),
        )
        for payable in store.payable(request.threshold, request.limit)
    )
    return tuple(payout for payout in payouts if store.put_payout(payout))


def _load_open_payouts(store: Store, clock: Clock, request: LoadOpenPayouts) -> tuple[Payout, ...]:
    return store.open_payouts()


def _record_payout(store: Store, clock: Clock, request: RecordPayout) -> Payout | None:
    if request.event in STORES_TRANSACTION and None in (request.transaction_data, request.transaction_ref):
        raise ValueError("what is sent must be stored with the event")
    if request.event is PayoutEvent.SEND_ANEW and request.replaces is None:
        raise ValueError("what is sent anew must take the place of what is recorded")
    now = clock.unix_ms()
    moved = store.move_payout(
        request.payout_id,
        request.event,
        now,
        transaction_data=request.transaction_data,
        transaction_ref=request.transaction_ref,
        reason=request.reason,
        replaces=request.replaces,
    )
    if not moved:
        return None
    payout = store.payout(request.payout_id)
    assert payout is not None
    if request.event is PayoutEvent.SETTLE:
        store.post(after_payout(payout), now)
    return payout


PAYMENT_ACTIONS: Final[dict[type[Message], Any]] = {
    RecordPaymentAsked: _asked,
    RecordPaymentConfirmed: _confirmed,
    RecordPaymentRefused: _refused,
    RecordPaymentLostTrack: _lost_track,
    RecordPaymentReleased: _released,
    RecordPaymentCredited: _credited,
    LoadOpenPayments: _load_open_payments,
    LoadVoids: _load_voids,
    RecordVoidLookedAt: _void_looked_at,
    FindCredit: _find_credit,
    FindPayment: _find_payment,
    GetEarnings: _get_earnings,
    GetMoneyTotals: _get_money_totals,
    PutPayoutAddress: _put_payout_address,
    ListPayable: _list_payable,
    RecordPayouts: _record_payouts,
    LoadOpenPayouts: _load_open_payouts,
    RecordPayout: _record_payout,
}

READ_ONLY_PAYMENT_REQUESTS: Final[frozenset[type[Message]]] = frozenset(
    {
        LoadOpenPayments,
        LoadVoids,
        FindCredit,
        FindPayment,
        GetEarnings,
        GetMoneyTotals,
        ListPayable,
        LoadOpenPayouts,
    }
)
