"""What a store means about money, in the plainest Python."""

from __future__ import annotations

import msgspec

from compute_router.protocol.job_state import UNFINISHED, JobStatus
from compute_router.protocol.ledger import Journal, account_kind, payout_account, worker_account
from compute_router.protocol.payment_state import (
    OPEN_PAYMENTS,
    PaymentEvent,
    PaymentState,
    advance_payment,
    payment_sources,
)
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
from compute_router.protocol.payout_state import OPEN_PAYOUTS, PayoutEvent, payout_sources, payout_target
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.money import MoneyStore


class BrokenConstraintError(Exception):
    """Something that must be unique is there twice, or something referred to is not there."""


class Book(msgspec.Struct):
    """What is kept about money; dictionaries are in the order of commit."""

    payments: dict[str, Payment] = {}
    credits: dict[str, Credit] = {}
    journals: dict[str, Journal] = {}
    addresses: dict[str, PayoutAddress] = {}
    payouts: dict[str, Payout] = {}
    asked_at: dict[str, UnixMs] = {}
    look_at: dict[str, UnixMs | None] = {}
    lost_at: dict[str, UnixMs | None] = {}

    def open_jobs(self) -> set[str]:
        """The jobs whose payments may still move money."""
        return {
            payment.job_id
            for payment in self.payments.values()
            if payment.state in OPEN_PAYMENTS or self.look_at.get(payment.payment_id) is not None
        }


class MemoryMoney(MoneyStore):
    """The part of the reference that knows about money."""

    def _book(self) -> Book:
        raise NotImplementedError

    def _status_of(self, job_id: str) -> JobStatus | None:
        raise NotImplementedError

    def _need_transaction(self) -> None:
        raise NotImplementedError

    def reserve_payment(self, payment: NewPayment, job_id: str, now: UnixMs) -> bool:
        self._need_transaction()
        payments = self._book().payments
        if payment.payment_id in payments:
            return False
        if self.payment_of(job_id) is not None or payment.amount <= 0 or payment.fee > payment.amount:
            raise BrokenConstraintError(job_id)
        state = PaymentState.SETTLED if payment.network == CREDIT_NETWORK else PaymentState.RESERVED
        given = {name: getattr(payment, name) for name in NewPayment.__struct_fields__}
        payments[payment.payment_id] = Payment(job_id=job_id, state=state, **given)
        return True

    def payment(self, payment_id: str) -> Payment | None:
        return self._book().payments.get(payment_id)

    def payment_of(self, job_id: str) -> Payment | None:
        return next((one for one in self._book().payments.values() if one.job_id == job_id), None)

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
        self._need_transaction()
        payment = self.payment(payment_id)
        if payment is None or payment.state not in payment_sources(event):
            return False
        self._book().payments[payment_id] = msgspec.structs.replace(
            payment,
            state=advance_payment(payment.state, event),
            transaction_ref=transaction_ref or payment.transaction_ref,
            reason=reason or payment.reason,
        )
        if event is not PaymentEvent.LOSE_TRACK:
            self._book().asked_at[payment_id] = now
        self._book().look_at[payment_id] = look_at
        return True

    def payments_to_look_at(self, until: UnixMs, limit: int) -> tuple[Payment, ...]:
        found = [payment_id for at, payment_id in self._looks() if at <= until]
        return tuple(self._book().payments[payment_id] for payment_id in found[:limit])

    def next_look(self) -> UnixMs | None:
        return next((at for at, _ in self._looks()), None)

    def _looks(self) -> list[tuple[UnixMs, str]]:
        look_at = self._book().look_at
        looks = [(look_at.get(payment_id), payment_id) for payment_id in self._book().payments]
        return sorted(((at, name) for at, name in looks if at is not None), key=lambda look: look[0])

    def look_again(self, payment_id: str, at: UnixMs | None) -> bool:
        self._need_transaction()
        payment = self.payment(payment_id)
        if payment is None or payment.state is not PaymentState.VOID:
            return False
        self._book().look_at[payment_id] = at
        return True

    def note_loss(self, payment_id: str, at: UnixMs | None) -> bool:
        self._need_transaction()
        is_lost = self._book().lost_at.get(payment_id) is not None
        if self.payment(payment_id) is None or is_lost == (at is not None):
            return False
        self._book().lost_at[payment_id] = at
        return True

    def losses(self) -> tuple[Loss, ...]:
        lost_at = self._book().lost_at
        found = [(lost_at.get(one.payment_id), one) for one in self._book().payments.values()]
        lost = [
            Loss(one.payment_id, one.payer, one.amount, at, one.reason) for at, one in found if at is not None
        ]
        return tuple(sorted(lost, key=lambda loss: loss.at))

    def open_payments(self) -> tuple[tuple[Payment, JobStatus], ...]:
        found = []
        for payment in self._book().payments.values():
            status = self._status_of(payment.job_id)
            early = payment.state is PaymentState.SETTLED and status in UNFINISHED
            if status is not None and (early or payment.state in OPEN_PAYMENTS):
                found.append((payment, status))
        return tuple(sorted(found, key=lambda pair: pair[0].expires_at))

    def put_credit(self, credit: Credit, now: UnixMs) -> None:
        self._need_transaction()
        kept = self._book().credits
        if credit.token_hash in kept or any(one.payment_id == credit.payment_id for one in kept.values()):
            raise BrokenConstraintError(credit.payment_id)
        kept[credit.token_hash] = credit

    def credit(self, token_hash: str) -> Credit | None:
        return self._book().credits.get(token_hash)

    def spend_credit(self, token_hash: str, payer: str, amount: MicroUsd) -> bool:
        self._need_transaction()
        credit = self.credit(token_hash)
        if credit is None or credit.payer != payer or credit.amount_left < amount:
            return False
        left = MicroUsd(credit.amount_left - amount)
        self._book().credits[token_hash] = msgspec.structs.replace(credit, amount_left=left)
        return True

    def post(self, journal: Journal, now: UnixMs) -> None:
        self._need_transaction()
        if journal.name in self._book().journals:
            raise BrokenConstraintError(journal.name)
        self._book().journals[journal.name] = journal

    def balance(self, account: str) -> MicroUsd:
        return MicroUsd(
            sum(
                entry.amount
                for journal in self._book().journals.values()
                for entry in journal.entries
                if entry.account == account
            )
        )

    def ledger_sum(self) -> MicroUsd:
        journals = self._book().journals.values()
        return MicroUsd(sum(entry.amount for journal in journals for entry in journal.entries))

    def money_totals(self) -> MoneyTotals:
        book = self._book()
        payments: dict[PaymentState, tuple[int, MicroUsd]] = {}
        for payment in book.payments.values():
            count, amount = payments.get(payment.state, (0, MicroUsd(0)))
            payments[payment.state] = count + 1, MicroUsd(amount + payment.amount)
        accounts: dict[str, MicroUsd] = {}
        for journal in book.journals.values():
            for entry in journal.entries:
                kind = account_kind(entry.account)
                accounts[kind] = MicroUsd(accounts.get(kind, 0) + entry.amount)
        asked = {PaymentState.SETTLING, PaymentState.UNKNOWN}
        times = [book.asked_at[one.payment_id] for one in book.payments.values() if one.state in asked]
        return MoneyTotals(payments, accounts, min(times, default=None))

    def put_payout_address(self, address: PayoutAddress) -> bool:
        self._need_transaction()
        kept = self.payout_address(address.pubkey)
        if kept is not None and kept.signed_at >= address.signed_at:
            return False
        self._book().addresses[address.pubkey] = address
        return True

    def payout_address(self, pubkey: str) -> PayoutAddress | None:
        return self._book().addresses.get(pubkey)

    def payable(self, threshold: MicroUsd, limit: int) -> tuple[Payable, ...]:
        busy = {payout.pubkey for payout in self.open_payouts()}
        owed = [
            Payable(pubkey, named.address, self.balance(worker_account(pubkey)))
            for pubkey, named in self._book().addresses.items()
            if pubkey not in busy
        ]
        enough = [payable for payable in owed if payable.amount >= max(threshold, 1)]
        return tuple(sorted(enough, key=lambda payable: (-payable.amount, payable.pubkey))[:limit])

    def put_payout(self, payout: Payout) -> bool:
        self._need_transaction()
        if payout.payout_id in self._book().payouts or payout.amount <= 0:
            raise BrokenConstraintError(payout.payout_id)
        if any(one.pubkey == payout.pubkey for one in self.open_payouts()):
            return False
        self._book().payouts[payout.payout_id] = payout
        return True

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
        self._need_transaction()
        payout = self.payout(payout_id)
        if payout is None or payout.state not in payout_sources(event):
            return False
        if replaces not in (None, payout.transaction_ref):
            return False
        self._book().payouts[payout_id] = msgspec.structs.replace(
            payout,
            state=payout_target(event),
            transaction_data=transaction_data or payout.transaction_data,
            transaction_ref=transaction_ref or payout.transaction_ref,
            reason=reason or payout.reason,
        )
        return True

    def payout(self, payout_id: str) -> Payout | None:
        return self._book().payouts.get(payout_id)

    def open_payouts(self) -> tuple[Payout, ...]:
        opened = [payout for payout in self._book().payouts.values() if payout.state in OPEN_PAYOUTS]
        return tuple(sorted(opened, key=lambda payout: payout.created_at))

    def payouts_of(self, pubkey: str, limit: int) -> tuple[Payout, ...]:
        own = [payout for payout in self._book().payouts.values() if payout.pubkey == pubkey]
        oldest_first = sorted(own, key=lambda payout: payout.created_at)
        return tuple(oldest_first[::-1][:limit])

    def earnings(self, pubkey: str) -> Earnings:
        paid_out = self.balance(payout_account(pubkey))
        earned = MicroUsd(self.balance(worker_account(pubkey)) + paid_out)
        under_way = sum(payout.amount for payout in self.open_payouts() if payout.pubkey == pubkey)
        return Earnings(earned, paid_out, MicroUsd(under_way))
