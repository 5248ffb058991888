"""The part of the SQLite store that knows about money."""

from __future__ import annotations

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import Journal, payout_account, worker_account
from compute_router.protocol.payment_state import PAYMENT_TRANSITIONS, PaymentEvent, PaymentState
from compute_router.protocol.payments import (
    CREDIT_NETWORK,
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
from compute_router.protocol.payout_state import PayoutEvent, payout_target
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage import money_queries as queries
from compute_router.storage import money_rows as rows
from compute_router.storage.money import MoneyStore
from compute_router.storage.session import Session

_PAYMENT_TARGETS = {event: new.value for (_, event), new in PAYMENT_TRANSITIONS.items()}


class SqliteMoney(MoneyStore):
    """See :class:`~compute_router.storage.money.MoneyStore`."""

    _session: Session

    def reserve_payment(self, payment: NewPayment, job_id: str, now: UnixMs) -> bool:
        by_credit = payment.network == CREDIT_NETWORK
        state = PaymentState.SETTLED if by_credit else PaymentState.RESERVED
        return self._session.change(
            queries.RESERVE_PAYMENT,
            (
                payment.payment_id,
                job_id,
                payment.payer,
                payment.network,
                payment.asset,
                payment.pay_to,
                payment.amount,
                payment.fee,
                state.value,
                payment.expires_at,
                payment.x402_version,
                payment.payload,
                payment.requirements,
                payment.credit_token_hash,
                payment.spends,
                now,
                payment.commit_key_hash,
            ),
        )

    def payment(self, payment_id: str) -> Payment | None:
        row = self._session.read(queries.PAYMENT, (payment_id,))
        return None if row is None else rows.payment(row)

    def payment_of(self, job_id: str) -> Payment | None:
        row = self._session.read(queries.PAYMENT_OF_JOB, (job_id,))
        return None if row is None else rows.payment(row)

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
        return self._session.change(
            queries.MOVE_PAYMENT[event],
            (payment_id, _PAYMENT_TARGETS[event], now, transaction_ref, reason, look_at),
        )

    def payments_to_look_at(self, until: UnixMs, limit: int) -> tuple[Payment, ...]:
        return tuple(map(rows.payment, self._session.rows(queries.PAYMENTS_TO_LOOK_AT, (until, limit))))

    def next_look(self) -> UnixMs | None:
        at = self._session.read(queries.NEXT_LOOK)
        return None if at is None else UnixMs(at)

    def look_again(self, payment_id: str, at: UnixMs | None) -> bool:
        return self._session.change(queries.LOOK_AGAIN, (payment_id, at))

    def note_loss(self, payment_id: str, at: UnixMs | None) -> bool:
        if at is None:
            return self._session.change(queries.NOTE_RECOVERY, (payment_id,))
        return self._session.change(queries.NOTE_LOSS, (payment_id, at))

    def losses(self) -> tuple[Loss, ...]:
        return tuple(
            Loss(payment_id, payer, MicroUsd(amount), UnixMs(at), reason)
            for payment_id, payer, amount, at, reason in self._session.rows(queries.LOSSES)
        )

    def name_settlement(self, job_id: str, transaction_ref: str) -> bool:
        return self._session.change(queries.NAME_SETTLEMENT, (job_id, transaction_ref))

    def open_payments(self) -> tuple[tuple[Payment, JobStatus], ...]:
        found = self._session.rows(queries.OPEN_PAYMENTS_OF_JOBS)
        found += self._session.rows(queries.EARLY_PAYMENTS_OF_JOBS)
        opened = [(rows.payment(row[1:]), JobStatus(row[0])) for row in found]
        return tuple(sorted(opened, key=lambda pair: pair[0].expires_at))

    def put_credit(self, credit: Credit, now: UnixMs) -> None:
        self._session.change(
            queries.PUT_CREDIT,
            (credit.token_hash, credit.payer, credit.payment_id, credit.amount_left, now),
        )

    def credit(self, token_hash: str) -> Credit | None:
        row = self._session.read(queries.CREDIT, (token_hash,))
        if row is None:
            return None
        payer, payment_id, amount_left = row
        return Credit(
            token_hash=token_hash, payer=payer, payment_id=payment_id, amount_left=MicroUsd(amount_left)
        )

    def spend_credit(self, token_hash: str, payer: str, amount: MicroUsd) -> bool:
        return self._session.change(queries.SPEND_CREDIT, (token_hash, payer, amount))

    def post(self, journal: Journal, now: UnixMs) -> None:
        for entry in journal.entries:
            self._session.change(queries.POST_ENTRY, (journal.name, entry.account, entry.amount, now))

    def balance(self, account: str) -> MicroUsd:
        return MicroUsd(self._session.read(queries.BALANCE, (account,)) or 0)

    def ledger_sum(self) -> MicroUsd:
        return MicroUsd(self._session.read(queries.LEDGER_SUM))

    def money_totals(self) -> MoneyTotals:
        oldest = self._session.read(queries.OLDEST_SETTLEMENT)
        return MoneyTotals(
            {
                PaymentState(state): (count, MicroUsd(amount))
                for state, count, amount in self._session.rows(queries.PAYMENT_TOTALS)
                if count
            },
            {kind: MicroUsd(amount) for kind, amount in self._session.rows(queries.LEDGER_TOTALS)},
            None if oldest is None else UnixMs(oldest),
        )

    def put_payout_address(self, address: PayoutAddress) -> bool:
        return self._session.change(
            queries.PUT_PAYOUT_ADDRESS, (address.pubkey, address.address, address.signed_at)
        )

    def payout_address(self, pubkey: str) -> PayoutAddress | None:
        row = self._session.read(queries.PAYOUT_ADDRESS, (pubkey,))
        return None if row is None else PayoutAddress(pubkey, row[0], UnixMs(row[1]))

    def payable(self, threshold: MicroUsd, limit: int) -> tuple[Payable, ...]:
        # Nobody is paid nothing, whatever the threshold.
        found = self._session.rows(queries.PAYABLE, (max(threshold, 1), limit))
        return tuple(Payable(pubkey, address, MicroUsd(amount)) for pubkey, address, amount in found)

    def put_payout(self, payout: Payout) -> bool:
        return self._session.change(
            queries.PUT_PAYOUT,
            (payout.payout_id, payout.pubkey, payout.address, payout.amount, payout.created_at),
        )

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
        target = payout_target(event).value
        return self._session.change(
            queries.MOVE_PAYOUT[event],
            (payout_id, target, now, transaction_data, transaction_ref, reason, replaces),
        )

    def payout(self, payout_id: str) -> Payout | None:
        row = self._session.read(queries.PAYOUT, (payout_id,))
        return None if row is None else rows.payout(row)

    def open_payouts(self) -> tuple[Payout, ...]:
        return tuple(map(rows.payout, self._session.rows(queries.ALL_OPEN_PAYOUTS)))

    def payouts_of(self, pubkey: str, limit: int) -> tuple[Payout, ...]:
        return tuple(map(rows.payout, self._session.rows(queries.PAYOUTS_OF, (pubkey, limit))))

    def earnings(self, pubkey: str) -> Earnings:
        paid_out = self.balance(payout_account(pubkey))
        earned = MicroUsd(self.balance(worker_account(pubkey)) + paid_out)
        return Earnings(earned, paid_out, MicroUsd(self._session.read(queries.UNDER_WAY, (pubkey,))))
