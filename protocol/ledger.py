"""The double-entry ledger as pure functions: which journals an event of a payment or payout writes.

The amounts of a journal are zero together. Its name is its kind and the id of the payment or payout, so that
it can be written once only. Amounts are integer micro-USD; positive is what an account gains.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.payment_state import PaymentEvent, PaymentState
from compute_router.protocol.payments import CREDIT_NETWORK, Entry, NewPayment, PaymentView, Payout
from compute_router.protocol.units import MicroUsd

FEES: Final = "operator:fees"
LOSSES: Final = "operator:losses"
RECEIVABLE: Final = "receivable"
"""Completed jobs whose payment is not decided yet, as a negative amount."""
HELD: Final = "held"
"""Money that came for jobs that are not finished yet."""

BPS_PER_WHOLE: Final = 10_000


def payer_account(address: str) -> str:
    """What a payer gave, as a negative amount."""
    return f"payer:{address}"


def credit_account(address: str) -> str:
    """What a payer may still spend of the money that came for failed jobs."""
    return f"credit:{address}"


def worker_account(pubkey: str) -> str:
    """What a worker is owed."""
    return f"worker:{pubkey}"


def payout_account(pubkey: str) -> str:
    """What a worker was paid."""
    return f"payout:{pubkey}"


def account_kind(account: str) -> str:
    """What an account is counted under: the name before its colon; the operator's are counted alone."""
    return account if account.startswith("operator:") else account.partition(":")[0]


def fee_of(amount: MicroUsd, fee_bps: int) -> MicroUsd:
    """The operator's share of a price, rounded down; ``fee_bps`` are hundredths of a percent, 0 to 10000."""
    if not 0 <= fee_bps <= BPS_PER_WHOLE:
        raise ValueError(f"a fee is 0 to {BPS_PER_WHOLE} basis points")
    return MicroUsd(amount * fee_bps // BPS_PER_WHOLE)


class JournalKind(Enum):
    """What a journal is about; the first part of its name."""

    COMPLETION = "completion"
    SETTLEMENT = "settlement"
    LOSS = "loss"
    RECOVERY = "recovery"
    EARLY_SETTLEMENT = "early"
    DELIVERY = "delivery"
    CREDIT = "credit"
    SPENDING = "spending"
    PAYOUT = "payout"


class Journal(msgspec.Struct, frozen=True):
    """Entries that are written together or not at all."""

    name: str
    entries: tuple[Entry, ...]


class Consequence(msgspec.Struct, frozen=True):
    """What follows from an event: steps of the payment, each from where the one before led, and journals."""

    steps: tuple[PaymentEvent, ...] = ()
    journals: tuple[Journal, ...] = ()


def after_reservation(payment: NewPayment) -> tuple[Journal, ...]:
    """A job was stored with its payment. Only a spent credit moves money already."""
    if payment.network != CREDIT_NETWORK:
        return ()
    return (
        _journal(
            JournalKind.SPENDING,
            payment.payment_id,
            {credit_account(payment.payer): -payment.amount, HELD: payment.amount},
        ),
    )


def after_completion(payment: PaymentView, worker_pubkey: str) -> tuple[Journal, ...]:
    """The job is completed: the worker is credited whatever becomes of the payment."""
    completion = _journal(
        JournalKind.COMPLETION,
        payment.payment_id,
        {
            worker_account(worker_pubkey): payment.amount - payment.fee,
            FEES: payment.fee,
            RECEIVABLE: -payment.amount,
        },
    )
    if payment.state is PaymentState.SETTLED:
        return (completion, _moved(JournalKind.DELIVERY, payment, HELD, RECEIVABLE))
    if payment.state is PaymentState.VOID:
        return (completion, _moved(JournalKind.LOSS, payment, LOSSES, RECEIVABLE))
    return (completion,)


def after_failure(payment: PaymentView) -> Consequence:
    """The job ended without an output: what was not asked for never will be, and what came is given back."""
    if payment.state is PaymentState.RESERVED:
        return Consequence((PaymentEvent.RELEASE,))
    if payment.state is PaymentState.SETTLED:
        return Consequence((PaymentEvent.CREDIT,), (_credited(payment),))
    return Consequence()


def after_step(payment: PaymentView, event: PaymentEvent, job: JobStatus) -> Consequence:
    """What follows from a step that the payment just made from ``payment.state``, when its job is at ``job``.

    ``steps`` are those that come on top of it.
    """
    completed = job is JobStatus.COMPLETED
    failed = job in FINAL and not completed
    match event:
        case PaymentEvent.CONFIRM if completed and payment.state is PaymentState.VOID:
            recovered = _moved(JournalKind.RECOVERY, payment, payer_account(payment.payer), LOSSES)
            return Consequence((), (recovered,))
        case PaymentEvent.CONFIRM if completed:
            settled = _moved(JournalKind.SETTLEMENT, payment, payer_account(payment.payer), RECEIVABLE)
            return Consequence((), (settled,))
        case PaymentEvent.CONFIRM:
            early = _moved(JournalKind.EARLY_SETTLEMENT, payment, payer_account(payment.payer), HELD)
            if failed:
                return Consequence((PaymentEvent.CREDIT,), (early, _credited(payment)))
            return Consequence((), (early,))
        case PaymentEvent.REFUSE | PaymentEvent.RELEASE if completed:
            return Consequence((), (_moved(JournalKind.LOSS, payment, LOSSES, RECEIVABLE),))
        case PaymentEvent.CREDIT:
            return Consequence((), (_credited(payment),))
        case _:
            return Consequence()


def after_payout(payout: Payout) -> Journal:
    """A payout reached its worker."""
    return _journal(
        JournalKind.PAYOUT,
        payout.payout_id,
        {worker_account(payout.pubkey): -payout.amount, payout_account(payout.pubkey): payout.amount},
    )


def kind_of(journal: Journal) -> JournalKind:
    """What a journal is about."""
    return JournalKind(journal.name.partition(":")[0])


def journal_name(kind: JournalKind, about: str) -> str:
    """The name under which a journal is kept; ``about`` is the id of the payment or payout."""
    return f"{kind.value}:{about}"


def _credited(payment: PaymentView) -> Journal:
    return _moved(JournalKind.CREDIT, payment, HELD, credit_account(payment.payer))


def _moved(kind: JournalKind, payment: PaymentView, source: str, target: str) -> Journal:
    return _journal(kind, payment.payment_id, {source: -payment.amount, target: payment.amount})


def _journal(kind: JournalKind, about: str, amounts: dict[str, int]) -> Journal:
    assert sum(amounts.values()) == 0, "a journal is zero"
    entries = tuple(Entry(account, MicroUsd(amount)) for account, amount in amounts.items() if amount)
    return Journal(journal_name(kind, about), entries)
