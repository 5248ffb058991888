"""The steps of a payment, as the JobStore is told to record them."""

from __future__ import annotations

from compute_router.actors.messages.base import Message
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payments import Loss, Payment, PaymentView
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.interface import JobView


class RecordPaymentAsked(Message, frozen=True):
    """Settlement is about to be asked for. Answer: :class:`PaymentRecorded`."""

    payment_id: str


class RecordPaymentConfirmed(Message, frozen=True):
    """The money came. Answer: :class:`PaymentRecorded`.

    If the job failed meanwhile, the payment is credited at once. It may come after it was given up.
    """

    payment_id: str
    transaction_ref: str


class RecordPaymentRefused(Message, frozen=True):
    """The money will not come. Answer: :class:`PaymentRecorded`.

    Unless it is ``final``, because the authorization can move money no more, the chain is looked at once more
    when that has expired.
    """

    payment_id: str
    reason: str
    final: bool = False


class RecordPaymentLostTrack(Message, frozen=True):
    """Nobody knows whether the money comes. Answer: :class:`PaymentRecorded`."""

    payment_id: str
    reason: str


class RecordPaymentReleased(Message, frozen=True):
    """The money will never be asked for. Answer: :class:`PaymentRecorded`.

    The end of a job without an output does this by itself to a reserved payment, in its own transaction.
    """

    payment_id: str


class RecordPaymentCredited(Message, frozen=True):
    """The money came for a job that failed. Answer: :class:`PaymentRecorded`.

    The end of such a job, or the coming of its money, does this by itself. Of another job nothing moves.
    """

    payment_id: str


class PaymentRecorded(Message, frozen=True):
    """How a payment stands now, whether the step was possible or not; None: there is no such payment.

    ``view`` is its job with that payment, if the job has ended.
    """

    payment_id: str
    payment: PaymentView | None
    view: JobView | None = None


class LoadOpenPayments(Message, frozen=True):
    """Ask: every payment that is not decided. Answer: :class:`OpenPayments`.

    Settled ones are among them while their job is unfinished.
    """


class OpenPayment(Message, frozen=True):
    """A payment that is not at its end, and where its job stands."""

    payment: Payment
    job_status: JobStatus


class OpenPayments(Message, frozen=True):
    """What a restart finds, first to expire first. ``ledger_sum`` is zero, unless the ledger is damaged.

    ``losses`` is every payment that never came for a completed job, oldest first.
    """

    payments: tuple[OpenPayment, ...]
    ledger_sum: MicroUsd
    losses: tuple[Loss, ...] = ()


class LoadVoids(Message, frozen=True):
    """Ask: up to ``limit`` void payments that are to be looked up now. Answer: :class:`VoidsLoaded`."""

    limit: int


class VoidsLoaded(Message, frozen=True):
    """Void payments to look up on the chain now. ``next_look`` is when there will be more, None: never."""

    payments: tuple[Payment, ...]
    next_look: UnixMs | None


class RecordVoidLookedAt(Message, frozen=True):
    """A void payment was looked up, and did not move money; look ``again`` at this time, or never."""

    payment_id: str
    again: UnixMs | None
