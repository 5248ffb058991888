"""What is asked of a database about money: payments, credits, the ledger and payouts.

Part of :class:`~compute_router.storage.interface.Store`; what is said there about transactions and counts
holds. Nothing here is touched for a job that is free.
"""

from __future__ import annotations

from typing import Protocol

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import Journal
from compute_router.protocol.payment_state import PaymentEvent
from compute_router.protocol.payments import (
    Credit,
    Earnings,
    Loss,
    MoneyTotals,
    NewPayment,
    Payable,
    Payment,
    Payout,
    PayoutAddress,
)
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.protocol.units import MicroUsd, UnixMs


class MoneyStore(Protocol):
    """The part of a store that knows about money."""

    def reserve_payment(self, payment: NewPayment, job_id: str, now: UnixMs) -> bool:
        """Keep the payment of a job as ``reserved``, one by credit as ``settled``.

        False, and nothing is kept, if its id was used before.
        """

    def payment(self, payment_id: str) -> Payment | None:
        """One payment, or None."""

    def payment_of(self, job_id: str) -> Payment | None:
        """The payment of a job; None when it is free or unknown."""

    def move_payment(
        self,
        payment_id: str,
        event: PaymentEvent,
        now: UnixMs,
        *,
        transaction_ref: str | None = None,
        reason: str | None = None,
        look_at: UnixMs | None = None,
    ) -> bool:
        """Make a step of the state table; False if the payment is not where the step begins.

        A reference or reason that is None leaves as it is what was kept before. ``look_at`` is when a payment
        that becomes void is to be looked up on its chain; None: never.
        """

    def payments_to_look_at(self, until: UnixMs, limit: int) -> tuple[Payment, ...]:
        """Up to ``limit`` void payments that are to be looked up by a time, longest due first."""

    def next_look(self) -> UnixMs | None:
        """When the first void payment is to be looked up; None: there is none."""

    def look_again(self, payment_id: str, at: UnixMs | None) -> bool:
        """Look a void payment up at another time, or never; False if it is not void."""

    def note_loss(self, payment_id: str, at: UnixMs | None) -> bool:
        """Note that a payment is lost since a time; None: that it came after all.

        False if it was lost already, or came already.
        """

    def losses(self) -> tuple[Loss, ...]:
        """Every payment that is lost, oldest first."""

    def name_settlement(self, job_id: str, transaction_ref: str) -> bool:
        """Write the settlement of a job's payment on its receipt.

        False if there is no receipt yet, or if it names a settlement.
        """

    def open_payments(self) -> tuple[tuple[Payment, JobStatus], ...]:
        """Every payment that is not at its end, and where its job stands, first to expire first.

        These are the reserved, settling and unknown ones, and the settled ones of unfinished jobs.
        """

    def put_credit(self, credit: Credit, now: UnixMs) -> None:
        """Keep a new credit."""

    def credit(self, token_hash: str) -> Credit | None:
        """The credit with this hash of its token, or None."""

    def spend_credit(self, token_hash: str, payer: str, amount: MicroUsd) -> bool:
        """Take an amount from a payer's credit; False, and nothing taken, if it is too small or not there."""

    def post(self, journal: Journal, now: UnixMs) -> None:
        """Write a journal. A journal of that name must not be there yet."""

    def balance(self, account: str) -> MicroUsd:
        """The sum of an account; zero when nothing was ever posted to it."""

    def ledger_sum(self) -> MicroUsd:
        """The sum of all accounts, which is zero unless the database is damaged."""

    def money_totals(self) -> MoneyTotals:
        """How all payments and accounts stand together; reads no single one of them."""

    def put_payout_address(self, address: PayoutAddress) -> bool:
        """Keep where a worker wants its earnings; False if one is kept that was signed then or later."""

    def payout_address(self, pubkey: str) -> PayoutAddress | None:
        """Where a worker wants its earnings, or None."""

    def payable(self, threshold: MicroUsd, limit: int) -> tuple[Payable, ...]:
        """Up to ``limit`` workers that are owed at least ``threshold``, most first.

        Those without a payout address and those with an open payout are left out.
        """

    def put_payout(self, payout: Payout) -> bool:
        """Keep a new payout as ``recorded``; False if its worker has an open one."""

    def move_payout(
        self,
        payout_id: str,
        event: PayoutEvent,
        now: UnixMs,
        *,
        transaction_data: str | None = None,
        transaction_ref: str | None = None,
        reason: str | None = None,
        replaces: str | None = None,
    ) -> bool:
        """Make a step of a payout; False if it is not where the step begins.

        What is None leaves as it is what was kept before. ``replaces`` is the reference of a transaction; if
        another one is kept, the step is not made.
        """

    def payout(self, payout_id: str) -> Payout | None:
        """One payout, or None."""

    def open_payouts(self) -> tuple[Payout, ...]:
        """Every payout that may still move money, oldest first."""

    def payouts_of(self, pubkey: str, limit: int) -> tuple[Payout, ...]:
        """Up to ``limit`` payouts of a worker, newest first."""

    def earnings(self, pubkey: str) -> Earnings:
        """What a worker earned, what it was paid, and what is on its way."""
