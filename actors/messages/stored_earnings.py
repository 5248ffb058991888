"""What the JobStore is asked about credits, earnings and payouts."""

from __future__ import annotations

from compute_router.actors.messages.base import Message
from compute_router.protocol.messages import Frame
from compute_router.protocol.payments import Payout, PayoutAddress
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.protocol.units import MicroUsd


class FindPayment(Message, frozen=True):
    """Ask: the payment with this id, whatever became of it. Answer: Payment or None."""

    payment_id: str


class FindCredit(Message, frozen=True):
    """Ask: the credit with this hash of its token. Answer: Credit or None."""

    token_hash: str


class GetEarnings(Message, frozen=True):
    """Ask: what a worker earned, with up to ``limit`` payouts, newest first.

    Answer: :class:`WorkerEarnings`.
    """

    pubkey: str
    limit: int


class WorkerEarnings(Message, frozen=True):
    """All zero for a key that earned nothing yet."""

    pubkey: str
    earned: MicroUsd
    paid_out: MicroUsd
    under_way: MicroUsd
    address: PayoutAddress | None
    payouts: tuple[Payout, ...]


class GetMoneyTotals(Message, frozen=True):
    """Ask: how all payments and accounts stand together. Answer: MoneyTotals."""


class PutPayoutAddress(Message, frozen=True):
    """Keep where a worker wants its earnings, unless a newer address is kept. Answer: nothing."""

    address: PayoutAddress


class PayoutAddressNamed(Message, frozen=True):
    """A worker that proved its key named, and signed, where it wants its earnings. To the WorkerRegistry."""

    pubkey: str
    address: str


class TellWorker(Message, frozen=True):
    """To the WorkerRegistry: send a frame to the proven connection of a key, if there is one."""

    pubkey: str
    frame: Frame


class ListPayable(Message, frozen=True):
    """Ask: up to ``limit`` workers owed at least ``threshold``, most first. Answer: tuple of Payable.

    Workers without a payout address, and those with an open payout, are left out.
    """

    threshold: MicroUsd
    limit: int


class RecordPayouts(Message, frozen=True):
    """Ask: record a payout for each worker that :class:`ListPayable` names. Answer: tuple of Payout."""

    threshold: MicroUsd
    limit: int


class LoadOpenPayouts(Message, frozen=True):
    """Ask: every payout that is recorded, sent or unknown, oldest first. Answer: tuple of Payout."""


class RecordPayout(Message, frozen=True):
    """Ask: an event of a payout. Answer: the Payout as it is now; None if the event was not possible.

    ``SEND`` needs the signed transaction and its reference, which are durable before anything is sent. So
    does ``SEND_ANEW``, and the reference of the one that it replaces: it must still be the recorded one.
    """

    payout_id: str
    event: PayoutEvent
    transaction_data: str | None = None
    transaction_ref: str | None = None
    reason: str | None = None
    replaces: str | None = None
