"""Jobs and payments in any order: SQLite and the reference answer the same, and the books are in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import (
    DeleteFinished,
    GetJob,
    InsertJob,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
)
from compute_router.actors.messages.payment_steps import (
    LoadOpenPayments,
    RecordPaymentAsked,
    RecordPaymentConfirmed,
    RecordPaymentCredited,
    RecordPaymentLostTrack,
    RecordPaymentRefused,
    RecordPaymentReleased,
    RecordVoidLookedAt,
)
from compute_router.actors.messages.stored_earnings import (
    FindCredit,
    GetEarnings,
    PutPayoutAddress,
    RecordPayout,
)
from compute_router.actors.store_requests import handle
from compute_router.protocol.ledger import LOSSES, fee_of
from compute_router.protocol.payment_state import OPEN_PAYMENTS, PaymentState
from compute_router.protocol.payments import Payment, Payout, PayoutAddress
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.check import problems
from compute_router.storage.interface import IdempotencyKey, Store
from compute_router.storage.reading import open_for_reading
from tests.actors.samples import NOON, a_job, completion, key
from tests.fakes.clock import FakeClock
from tests.storage.money_samples import a_payment, a_payout, by_credit
from tests.storage.samples import ERROR
from tests.storage.two_stores import HistoriesOfTwoStores

# Few of each, so that random histories meet the same job and payment again and again.
NUMBERS = st.integers(1, 2)
WORKERS = st.sampled_from([key("a"), key("b")])
AMOUNTS = st.sampled_from([1_000, 3_333, 10_000]).map(MicroUsd)
STEPS = st.sampled_from(
    [
        RecordPaymentAsked,
        RecordPaymentReleased,
        RecordPaymentCredited,
        lambda name: RecordPaymentConfirmed(name, f"0x{name}"),
        lambda name: RecordPaymentRefused(name, "refused"),
        lambda name: RecordPaymentRefused(name, "expired", final=True),
        lambda name: RecordVoidLookedAt(name, None),
        lambda name: RecordPaymentLostTrack(name, "silence"),
    ]
)


class HistoriesOfMoney(HistoriesOfTwoStores):
    """Whatever comes in whatever order, nobody is charged, credited or paid twice."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = FakeClock()
        self._jobs: Counter[str] = Counter()
        self._payouts = 0
        self._completed: Counter[str] = Counter()

    def _do(self, request: Message) -> Any:
        self._clock.advance(1)
        return self._both(lambda store: handle(store, self._clock, request))

    def _exists(self, job_id: str) -> bool:
        return self._reference.job_view(job_id) is not None or self._reference.payment_of(job_id) is not None

    @rule(
        number=NUMBERS,
        amount=AMOUNTS,
        fee_bps=st.sampled_from([0, 500, 10_000]),
        order=st.none() | NUMBERS,
        replayed=st.sampled_from([False, False, False, True]),
    )
    def commit(self, number: int, amount: MicroUsd, fee_bps: int, order: int | None, replayed: bool) -> None:
        named = 3 - number if replayed else number
        if not self._exists(f"job-{number}"):
            payment = a_payment(
                f"pay-{named}",
                amount=amount,
                fee=fee_of(amount, fee_bps),
                expires_at=UnixMs(NOON + named),
                credit_token_hash=f"token-{named}",
            )
            name = None if order is None else IdempotencyKey(f"order-{order}", "a" * 64)
            self._do(InsertJob(a_job(f"job-{number}"), name, payment=payment))

    @rule(number=NUMBERS, token=NUMBERS, amount=AMOUNTS)
    def commit_by_credit(self, number: int, token: int, amount: MicroUsd) -> None:
        job_id = f"job-{number}"
        if not self._exists(job_id):
            self._do(FindCredit(f"token-{token}"))
            payment = by_credit(
                job_id,
                amount=amount,
                fee=fee_of(amount, 500),
                spends=f"token-{token}",
                credit_token_hash=f"again-{number}",
            )
            self._do(InsertJob(a_job(job_id), payment=payment))

    @rule(number=NUMBERS, worker=WORKERS)
    def complete(self, number: int, worker: str) -> None:
        job_id = f"job-{number}"
        self._do(RecordAssigned(job_id, 1, worker, DurationMs(20_000)))
        view = self._do(RecordCompletion(5, worker, 1, completion(job_id))).view
        if view is not None and view.payment is not None:
            self._completed[worker] += view.payment.amount - view.payment.fee

    @rule(number=NUMBERS)
    def fail(self, number: int) -> None:
        self._do(RecordFailed(f"job-{number}", 0, ERROR))

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        self._do(RecordCancelled(f"job-{number}"))

    @rule(number=NUMBERS, early=st.booleans(), worker=WORKERS)
    def complete_and_settle(self, number: int, early: bool, worker: str) -> None:
        if not early:
            self.complete(number, worker)
        self._do(RecordPaymentAsked(f"pay-{number}"))
        self._do(RecordPaymentConfirmed(f"pay-{number}", "0xabc"))
        if early:
            self.complete(number, worker)

    @rule(number=NUMBERS, lost=st.booleans())
    def settle(self, number: int, lost: bool) -> None:
        self._do(RecordPaymentAsked(f"pay-{number}"))
        if lost:
            self._do(RecordPaymentLostTrack(f"pay-{number}", "silence"))
        self._do(RecordPaymentConfirmed(f"pay-{number}", "0xabc"))

    @rule(number=NUMBERS, step=STEPS)
    def move(self, number: int, step: Callable[[str], Message]) -> None:
        self._do(step(f"pay-{number}"))

    @rule(worker=WORKERS, address=st.sampled_from(["0x1", "0x2"]))
    def name_address(self, worker: str, address: str) -> None:
        self._do(PutPayoutAddress(PayoutAddress(worker, address, self._clock.unix_ms())))

    @rule()
    def record_payouts(self) -> None:
        for payable in self._both(lambda store: store.payable(MicroUsd(1), 10)):
            self._payouts += 1
            payout = a_payout(
                f"out-{self._payouts}",
                pubkey=payable.pubkey,
                address=payable.address,
                amount=payable.amount,
                created_at=UnixMs(NOON + self._payouts),
            )
            assert self._both(partial(_put, payout))

    @rule(worker=WORKERS)
    def pay_out(self, worker: str) -> None:
        self.name_address(worker, "0x1")
        self.record_payouts()
        for payout in self._both(lambda store: store.open_payouts()):
            for event in (PayoutEvent.SEND, PayoutEvent.SETTLE):
                sent = RecordPayout(payout.payout_id, event, transaction_data="0xf8", transaction_ref="0x01")
                self._do(sent)

    @rule(number=NUMBERS, event=st.sampled_from(PayoutEvent))
    def move_payout(self, number: int, event: PayoutEvent) -> None:
        replaces = "0x01" if event is PayoutEvent.SEND_ANEW else None
        self._do(RecordPayout(f"out-{number}", event, "0xf8", "0x01", replaces=replaces))

    @rule()
    def delete_finished(self) -> None:
        self._do(DeleteFinished(UnixMs(self._clock.unix_ms() + 1), 100))

    @invariant()
    def both_show_the_same(self) -> None:
        for number in (1, 2):
            self._do(GetJob(f"job-{number}"))
            self._both(partial(_payment, f"pay-{number}"))
        for worker in (key("a"), key("b")):
            earnings = self._do(GetEarnings(worker, 5))
            assert earnings.earned == self._completed[worker]
            assert 0 <= earnings.paid_out + earnings.under_way <= earnings.earned
        assert self._both(lambda store: store.ledger_sum()) == 0
        totals = self._both(lambda store: store.money_totals()).payments
        reserved = sum(amount for state, (_, amount) in totals.items() if state in OPEN_PAYMENTS)
        opened = self._do(LoadOpenPayments()).payments
        undecided = [one.payment for one in opened if one.payment.state is not PaymentState.SETTLED]
        assert reserved == sum(payment.amount for payment in undecided)
        lost = sum(loss.amount for loss in self._both(lambda store: store.losses()))
        assert lost == -self._both(lambda store: store.balance(LOSSES))
        self._both(lambda store: store.next_look())
        self._both(lambda store: store.payments_to_look_at(UnixMs(NOON * 2), 10))

    @invariant()
    def the_books_are_in_order(self) -> None:
        with closing(open_for_reading(self._path)) as connection:
            assert list(problems(connection, lambda number, total: None)) == []


def _put(payout: Payout, store: Store) -> bool:
    return store.put_payout(payout)


def _payment(payment_id: str, store: Store) -> Payment | None:
    return store.payment(payment_id)


HistoriesOfMoney.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestHistoriesOfMoney = HistoriesOfMoney.TestCase
