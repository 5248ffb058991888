"""What the PaymentGate is told and asked, and what it decides for others to carry out."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from compute_router.actors.messages.base import Message
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.payments import (
    NewPayment,
    NotSettled,
    Payment,
    Refused,
    Settled,
    StillOpen,
    Unknown,
)
from compute_router.protocol.units import MicroUsd


class Admit(Message, frozen=True):
    """Ask: may this job be stored? Answer: nothing, or a raised error."""

    tier: Tier
    job_type: JobType


class ClaimPayment(Message, frozen=True):
    """Ask: is this payment for this commit, which came with it? Answer: the mark of the settlements so far,
    an int, or the :class:`FundsRefusal`.

    ``commit`` says what is committed, so that its repetition may come with the same payment. The claim lasts
    until :class:`JobCommitted` or :class:`DropFunds` names the same job; and after the latter the payment is
    still for that commit alone.
    """

    job_id: str
    payment_id: str
    payer: str
    amount: MicroUsd
    commit: str


class FundsMark(Message, frozen=True):
    """Ask: the mark of the settlements so far, an int. A balance that is read after it shows all of them."""


class HoldFunds(Message, frozen=True):
    """Ask: may the payer of a claimed payment owe so much more? Answer: None, or the :class:`FundsRefusal`.

    ``balance`` is what the chain says the payer has, None if it cannot be read, and ``mark`` the one from
    before it was read. The amount counts as the payer's debt as long as the claim lasts.
    """

    job_id: str
    balance: MicroUsd | None
    mark: int


class FundsRefusal(Enum):
    """Why a payment cannot be taken.

    ``CLAIMED``: another commit came with it first. ``PAYER_IN_DEBT``: too much of the payer's was lost.
    ``BALANCE_TOO_LOW``: debts exceed the balance; ``BALANCE_IS_OLD``: they may, because money went since the
    balance was read. ``TOO_MUCH_UNSETTLED``: debts exceed the limit for when no balance can be read.
    """

    CLAIMED = "claimed"
    PAYER_IN_DEBT = "payer_in_debt"
    BALANCE_TOO_LOW = "balance_too_low"
    BALANCE_IS_OLD = "balance_is_old"
    TOO_MUCH_UNSETTLED = "too_much_unsettled"


class CheckLosses(Message, frozen=True):
    """Ask: may anybody pay now? Answer: None, or when at the earliest, because too much was lost."""


class LossesAged(Message, frozen=True):
    """Time to see whether what was lost is a day old."""


class DropFunds(Message, frozen=True):
    """The job that a payment was claimed for was not stored."""

    job_id: str


class JobCommitted(Message, frozen=True):
    """A job and its payment are stored. Told before the job is submitted to the Matcher."""

    job_id: str
    payment: NewPayment


class AwaitsPayment(Message, frozen=True):
    """Ask: has this job ended and is not told yet, because its payment is undecided? Answer: bool."""

    job_id: str


class PaymentDue(Message, frozen=True):
    """Time to look at a payment again."""

    payment_id: str


class SettleAnswered(Message, frozen=True):
    """What the facilitator said to a settlement.

    ``payer_has`` is what the payer had right after a no, None if that was not read.
    """

    payment_id: str
    answer: Settled | Refused | Unknown
    payer_has: MicroUsd | None = None


class OutcomeRead(Message, frozen=True):
    """What the chain says of a payment; Unknown if it could not be read."""

    payment_id: str
    outcome: Settled | NotSettled | StillOpen | Unknown


class ProbeDue(Message, frozen=True):
    """Time to see whether the facilitator is well again."""


class FacilitatorProbed(Message, frozen=True):
    """How the facilitator is: None when it is well, else the problem."""

    problem: str | None


class DrainPayments(Message, frozen=True):
    """Call ``on_idle`` when no settlement is under way or due at once."""

    on_idle: Callable[[], None]


class AskSettle(Message, frozen=True):
    """Have the facilitator settle a payment; the answer comes as :class:`SettleAnswered`."""

    payment: Payment


class AskOutcome(Message, frozen=True):
    """Look up on the chain what became of a payment; the answer comes as :class:`OutcomeRead`.

    Its ``transaction_ref`` is the one that the facilitator named, if it did.
    """

    payment: Payment


class AskVoid(Message, frozen=True):
    """Look a payment that was given up up on the chain, when there is time; the answer is an
    :class:`OutcomeRead`.
    """

    payment: Payment


class VoidsDue(Message, frozen=True):
    """Time to look payments up that were given up."""


class AskHealth(Message, frozen=True):
    """See how the facilitator is; the answer comes as :class:`FacilitatorProbed`."""


class ReportPayments(Message, frozen=True):
    """A standing problem of payments for the health board, or None any more."""

    problem: str | None
