"""What each request about money does to a real database, together with the jobs that the money is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import (
    CreditUsedUp,
    DeleteFinished,
    GetJob,
    InsertJob,
    PaymentUsed,
    QuotaUsedUp,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
)
from compute_router.actors.messages.payment_steps import (
    LoadOpenPayments,
    OpenPayment,
    OpenPayments,
    PaymentRecorded,
    RecordPaymentAsked,
    RecordPaymentConfirmed,
    RecordPaymentCredited,
    RecordPaymentLostTrack,
    RecordPaymentRefused,
    RecordPaymentReleased,
)
from compute_router.actors.messages.stored_earnings import (
    FindCredit,
    GetEarnings,
    ListPayable,
    LoadOpenPayouts,
    PutPayoutAddress,
    RecordPayout,
    RecordPayouts,
    WorkerEarnings,
)
from compute_router.actors.messages.stored_trust import PutApiKey
from compute_router.actors.store_requests import handle
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import FEES, HELD, LOSSES, RECEIVABLE
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import NewPayment, PaymentView, PayoutAddress
from compute_router.protocol.payout_state import PayoutEvent, PayoutState
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.check import problems
from compute_router.storage.interface import DayQuota, IdempotencyKey, JobView, Replay
from compute_router.storage.reading import open_for_reading
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.actors.samples import NOON, a_job, completion, key
from tests.fakes.clock import FakeClock
from tests.storage.money_samples import (
    FEE,
    PAYER,
    PRICE,
    TOKEN_HASH,
    a_credit,
    a_payment,
    by_credit,
)
from tests.storage.samples import ERROR, an_api_key

WORKER = key("a")
LEASE = DurationMs(20_000)
ORDER = IdempotencyKey("order", "a" * 64)
SHARE = PRICE - FEE


class Office:
    """A database, a clock, and somebody who carries requests out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.store: SqliteStore = open_sqlite_store(path)
        self.clock = FakeClock()

    def do(self, *requests: Message) -> Any:
        """Carry requests out in one transaction; the answer to the last."""
        answer = None
        with self.store.transaction():
            for request in requests:
                answer = handle(self.store, self.clock, request)
        return answer

    def commit(self, job_id: str = "job", payment: NewPayment | None = None) -> Any:
        return self.do(InsertJob(a_job(job_id), payment=payment or a_payment()))

    def complete(self, job_id: str = "job") -> JobView:
        self.do(RecordAssigned(job_id, 1, WORKER, LEASE))
        view = self.do(RecordCompletion(5, WORKER, 1, completion(job_id))).view
        assert isinstance(view, JobView)
        return view

    def fail(self, job_id: str = "job") -> JobView:
        view = self.do(RecordFailed(job_id, 0, ERROR)).view
        assert isinstance(view, JobView)
        return view

    def settle(self, payment_id: str = "pay-1") -> PaymentRecorded:
        self.do(RecordPaymentAsked(payment_id))
        answer = self.do(RecordPaymentConfirmed(payment_id, "0xabc"))
        assert isinstance(answer, PaymentRecorded)
        return answer

    def state(self, payment_id: str = "pay-1") -> PaymentState:
        payment = self.store.payment(payment_id)
        assert payment is not None
        return payment.state

    def balances(self) -> dict[str, int]:
        """Every account that is not empty."""
        accounts = (f"payer:{PAYER}", f"credit:{PAYER}", f"worker:{WORKER}", f"payout:{WORKER}")
        found = {name: self.store.balance(name) for name in (*accounts, FEES, LOSSES, RECEIVABLE, HELD)}
        return {name.split(":0x")[0].split(":aa")[0]: amount for name, amount in found.items() if amount}

    def problems(self) -> list[str]:
        with closing(open_for_reading(self._path)) as connection:
            return list(problems(connection, lambda number, total: None))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path / "jobs.db")
    yield office
    # Whatever a test did, the books are in order after it.
    assert office.problems() == []
    assert office.store.ledger_sum() == 0
    office.store.close()


# Commits


def test_a_paid_job_is_stored_with_its_payment(office: Office) -> None:
    assert office.commit() == ()
    payment = office.store.payment("pay-1")
    assert payment is not None
    assert office.do(GetJob("job")).payment == payment.view()
    assert office.balances() == {}


def test_a_payment_that_was_used_is_not_taken_for_a_second_job(office: Office) -> None:
    office.commit()
    assert office.commit("other") == PaymentUsed("job")
    assert office.store.job_view("other") is None


@pytest.mark.parametrize("end", ["settled", "void", "credited"])
def test_a_payment_is_used_whatever_became_of_it(office: Office, end: str) -> None:
    office.commit()
    if end == "settled":
        office.complete()
    if end != "void":
        office.settle()
    if end != "settled":
        office.fail()
    assert office.state().value == end
    assert office.commit("other") == PaymentUsed("job")


def test_two_commits_with_one_payment_in_one_batch_make_one_job(office: Office) -> None:
    answer = office.do(
        InsertJob(a_job(), payment=a_payment()), InsertJob(a_job("other"), payment=a_payment())
    )
    assert answer == PaymentUsed("job")
    assert office.store.job_view("other") is None


def test_a_repeated_commit_is_answered_with_its_job_and_pays_nothing(office: Office) -> None:
    first = InsertJob(a_job(), ORDER, payment=a_payment())
    office.do(first)
    for payment in (a_payment(), a_payment("pay-2")):
        again = InsertJob(a_job("again"), ORDER, payment=payment)
        assert office.do(again) == Replay("job", same_request=True)
    assert office.store.payment("pay-2") is None


def test_a_refused_payment_does_not_use_up_the_quota(office: Office) -> None:
    office.do(PutApiKey(an_api_key("alice0000000")))
    quota = DayQuota("alice0000000", 20_000, 1)
    office.commit()
    assert office.do(InsertJob(a_job("other"), quota=quota, payment=a_payment())) == PaymentUsed("job")
    assert office.do(InsertJob(a_job("other"), quota=quota, payment=a_payment("pay-2"))) == ()


def test_a_used_up_quota_takes_no_payment(office: Office) -> None:
    office.do(PutApiKey(an_api_key("alice0000000")))
    quota = DayQuota("alice0000000", 20_000, 1)
    office.do(InsertJob(a_job(), quota=quota))
    answer = office.do(InsertJob(a_job("other"), quota=quota, payment=a_payment()))
    assert answer == QuotaUsedUp()
    assert office.store.payment("pay-1") is None


# A free job


def test_a_free_job_touches_nothing_about_money(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("payment", "payment_of", "reserve_payment", "move_payment", "post", "credit"):
        monkeypatch.delattr(f"compute_router.storage.sqlite_money.SqliteMoney.{name}")
    office.do(InsertJob(a_job(), ORDER), InsertJob(a_job("fails")), InsertJob(a_job("unwanted")))
    assert office.complete().payment is None
    assert office.fail("fails").payment is None
    assert office.do(RecordCancelled("unwanted")).view.payment is None
    assert office.do(GetJob("job")).payment is None
    monkeypatch.undo()


# Completion, then settlement


def test_a_completion_credits_the_worker_before_the_money_comes(office: Office) -> None:
    office.commit()
    view = office.complete()
    assert view.payment is not None
    assert view.payment.state is PaymentState.RESERVED
    assert office.balances() == {"worker": SHARE, FEES: FEE, RECEIVABLE: -PRICE}


def test_a_settlement_after_the_completion_closes_the_books(office: Office) -> None:
    office.commit()
    office.complete()
    answer = office.settle()
    assert answer.payment is not None
    assert (answer.payment.state, answer.payment.transaction_ref) == (PaymentState.SETTLED, "0xabc")
    assert answer.view == office.do(GetJob("job"))
    assert office.balances() == {"worker": SHARE, FEES: FEE, "payer": -PRICE}


def test_a_refused_settlement_is_the_operators_loss_and_the_worker_keeps_its_share(office: Office) -> None:
    office.commit()
    office.complete()
    office.do(RecordPaymentAsked("pay-1"))
    answer = office.do(RecordPaymentRefused("pay-1", "The payer is out of funds."))
    assert (answer.payment.state, answer.payment.reason) == (PaymentState.VOID, "The payer is out of funds.")
    assert answer.view.status is JobStatus.COMPLETED
    assert office.balances() == {"worker": SHARE, FEES: FEE, LOSSES: -PRICE}


def test_the_answer_of_a_facilitator_that_is_heard_twice_counts_once(office: Office) -> None:
    office.commit()
    office.complete()
    office.settle()
    for late in (
        RecordPaymentConfirmed("pay-1", "0xother"),
        RecordPaymentRefused("pay-1", "late"),
        RecordPaymentLostTrack("pay-1", "late"),
        RecordPaymentAsked("pay-1"),
    ):
        answer = office.do(late)
        assert (answer.payment.state, answer.payment.transaction_ref) == (PaymentState.SETTLED, "0xabc")
    assert office.balances() == {"worker": SHARE, FEES: FEE, "payer": -PRICE}


def test_a_completion_that_is_refused_books_nothing(office: Office) -> None:
    office.commit()
    office.do(RecordAssigned("job", 1, WORKER, LEASE))
    answer = office.do(RecordCompletion(5, WORKER, 1, completion("job", output_hash="0" * 64)))
    assert answer.view is None
    assert office.balances() == {}


def test_a_completion_that_comes_twice_is_booked_once(office: Office) -> None:
    office.commit()
    office.complete()
    assert office.do(RecordCompletion(5, WORKER, 1, completion("job"))).view is None
    assert office.balances()["worker"] == SHARE


# Settlement, then the end


def test_money_that_came_early_is_held_until_the_job_is_completed(office: Office) -> None:
    office.commit()
    assert office.settle().view is None
    assert office.balances() == {HELD: PRICE, "payer": -PRICE}
    view = office.complete()
    assert view.payment is not None
    assert view.payment.transaction_ref == "0xabc"
    assert office.balances() == {"worker": SHARE, FEES: FEE, "payer": -PRICE}


def test_an_early_settlement_that_is_refused_costs_nothing_if_the_job_fails(office: Office) -> None:
    office.commit()
    office.do(RecordPaymentAsked("pay-1"), RecordPaymentRefused("pay-1", "no"))
    office.fail()
    assert office.balances() == {}


def test_a_worker_is_credited_even_if_the_early_settlement_was_refused(office: Office) -> None:
    office.commit()
    office.do(RecordPaymentAsked("pay-1"), RecordPaymentRefused("pay-1", "no"))
    office.complete()
    assert office.balances() == {"worker": SHARE, FEES: FEE, LOSSES: -PRICE}


# Failure


def cancel(office: Office) -> JobView:
    view = office.do(RecordCancelled("job")).view
    assert isinstance(view, JobView)
    return view


@pytest.mark.parametrize("end", [Office.fail, cancel])
def test_the_payment_of_a_failed_job_is_released_with_its_end(office: Office, end: Any) -> None:
    office.commit()
    view = end(office)
    assert view.payment.state is PaymentState.VOID
    assert office.balances() == {}
    # Whoever meant to ask for the money finds that it may not.
    assert office.do(RecordPaymentAsked("pay-1")).payment.state is PaymentState.VOID
    assert office.do(RecordPaymentReleased("pay-1")).payment.state is PaymentState.VOID


@pytest.mark.parametrize("end", [Office.fail, cancel])
def test_money_that_came_early_for_a_failed_job_is_a_credit_with_its_end(office: Office, end: Any) -> None:
    office.commit()
    office.settle()
    view = end(office)
    assert view.payment.state is PaymentState.CREDITED
    assert office.do(FindCredit(TOKEN_HASH)) == a_credit()
    assert office.balances() == {"credit": PRICE, "payer": -PRICE}
    assert office.do(RecordPaymentCredited("pay-1")).payment.state is PaymentState.CREDITED


@pytest.mark.parametrize("lost_track", [False, True])
def test_money_that_comes_after_the_job_failed_is_a_credit_at_once(office: Office, lost_track: bool) -> None:
    office.commit()
    office.do(RecordPaymentAsked("pay-1"))
    view = office.fail()
    assert view.payment is not None
    assert view.payment.state is PaymentState.SETTLING
    if lost_track:
        answer = office.do(RecordPaymentLostTrack("pay-1", "No answer."))
        assert (answer.payment.state, answer.payment.reason) == (PaymentState.UNKNOWN, "No answer.")
    answer = office.do(RecordPaymentConfirmed("pay-1", "0xabc"))
    assert answer.payment.state is PaymentState.CREDITED
    assert answer.view.payment == answer.payment
    assert office.do(FindCredit(TOKEN_HASH)) == a_credit()
    assert office.balances() == {"credit": PRICE, "payer": -PRICE}


def test_what_may_be_delivered_is_neither_released_nor_credited(office: Office) -> None:
    office.commit()
    assert office.do(RecordPaymentReleased("pay-1")).payment.state is PaymentState.RESERVED
    office.settle()
    assert office.do(RecordPaymentCredited("pay-1")).payment.state is PaymentState.SETTLED
    office.complete()
    assert office.do(RecordPaymentCredited("pay-1")).payment.state is PaymentState.SETTLED


def test_a_payment_is_not_credited_when_its_completed_job_was_deleted(office: Office) -> None:
    office.commit()
    office.complete()
    office.settle()
    office.do(DeleteFinished(UnixMs(office.clock.unix_ms() + 1), 10))
    assert office.store.job_view("job") is None
    assert office.do(RecordPaymentCredited("pay-1")).payment.state is PaymentState.SETTLED
    assert office.do(FindCredit(TOKEN_HASH)) is None
    assert office.problems() == []


def test_a_payment_that_nobody_made_is_not_there(office: Office) -> None:
    assert office.do(RecordPaymentAsked("pay-1")) == PaymentRecorded("pay-1", None)
    assert office.do(FindCredit(TOKEN_HASH)) is None


def test_the_view_of_a_payment_shows_neither_the_authorization_nor_the_token(office: Office) -> None:
    office.commit()
    view = office.fail()
    assert type(view.payment) is PaymentView
    shown = msgspec.json.encode(view.payment) + repr(office.store.payment("pay-1")).encode()
    assert b"signature" not in shown
    assert TOKEN_HASH.encode() not in shown


# Credits


def a_failed_job_with_credit(office: Office) -> None:
    office.commit()
    office.settle()
    office.fail()


def test_a_credit_pays_for_the_next_job(office: Office) -> None:
    a_failed_job_with_credit(office)
    assert office.commit("next", by_credit("next", amount=MicroUsd(3_000), fee=MicroUsd(150))) == ()
    assert office.do(FindCredit(TOKEN_HASH)) == a_credit(amount_left=MicroUsd(7_000))
    assert office.balances() == {"credit": 7_000, HELD: 3_000, "payer": -PRICE}
    office.complete("next")
    assert office.balances() == {"credit": 7_000, "worker": 2_850, FEES: 150, "payer": -PRICE}


def test_a_credit_that_is_too_small_or_anothers_or_nobodys_buys_nothing(office: Office) -> None:
    a_failed_job_with_credit(office)
    for payment in (
        by_credit("next", amount=MicroUsd(PRICE + 1)),
        by_credit("next", payer="0xMallory"),
        by_credit("next", spends="f" * 64),
    ):
        assert office.commit("next", payment) == CreditUsedUp()
    assert office.store.job_view("next") is None
    assert office.do(FindCredit(TOKEN_HASH)) == a_credit()


def test_a_credit_cannot_be_spent_twice_in_one_batch(office: Office) -> None:
    a_failed_job_with_credit(office)
    answer = office.do(
        InsertJob(a_job("one"), payment=by_credit("one")),
        InsertJob(a_job("two"), payment=by_credit("two", credit_token_hash="e" * 64)),
    )
    assert answer == CreditUsedUp()
    assert office.store.job_view("two") is None


def test_a_job_paid_by_credit_that_fails_is_a_credit_again(office: Office) -> None:
    a_failed_job_with_credit(office)
    office.commit("next", by_credit("next"))
    view = office.fail("next")
    assert view.payment is not None
    assert view.payment.state is PaymentState.CREDITED
    assert office.do(FindCredit("d" * 64)) == a_credit("d" * 64, payment_id="credit/next")
    assert office.balances() == {"credit": PRICE, "payer": -PRICE}


# A restart


def test_a_restart_finds_every_payment_that_is_not_at_its_end(office: Office) -> None:
    for number in (1, 2, 3, 4, 5):
        office.commit(f"job-{number}", a_payment(f"pay-{number}", credit_token_hash=str(number)))
    office.complete("job-1")
    office.do(RecordPaymentAsked("pay-2"))
    office.settle("pay-3")
    office.fail("job-4")
    office.complete("job-5")
    office.settle("pay-5")
    loaded: OpenPayments = office.do(LoadOpenPayments())
    assert loaded.ledger_sum == 0
    found = {one.payment.payment_id: (one.payment.state, one.job_status) for one in loaded.payments}
    assert found == {
        "pay-1": (PaymentState.RESERVED, JobStatus.COMPLETED),
        "pay-2": (PaymentState.SETTLING, JobStatus.PENDING),
        "pay-3": (PaymentState.SETTLED, JobStatus.PENDING),
    }
    assert all(isinstance(one, OpenPayment) for one in loaded.payments)


# Earnings and payouts


def earn(office: Office, *, jobs: int = 1) -> None:
    office.do(PutPayoutAddress(PayoutAddress(WORKER, "0xWorker", NOON)))
    for number in range(jobs):
        office.commit(f"job-{number}", a_payment(f"pay-{number}", credit_token_hash=str(number)))
        office.complete(f"job-{number}")
        office.settle(f"pay-{number}")


def send(payout_id: str) -> RecordPayout:
    return RecordPayout(payout_id, PayoutEvent.SEND, transaction_data="0xf8", transaction_ref="0x01")


def test_a_worker_without_jobs_has_no_earnings(office: Office) -> None:
    nothing = WorkerEarnings(WORKER, MicroUsd(0), MicroUsd(0), MicroUsd(0), None, ())
    assert office.do(GetEarnings(WORKER, 10)) == nothing


def test_a_payout_is_recorded_sent_and_settled_and_the_ledger_follows(office: Office) -> None:
    earn(office, jobs=2)
    assert [one.amount for one in office.do(ListPayable(MicroUsd(1), 10))] == [2 * SHARE]
    (payout,) = office.do(RecordPayouts(MicroUsd(1), 10))
    assert office.do(LoadOpenPayouts()) == (payout,)
    assert office.do(GetEarnings(WORKER, 10)).under_way == 2 * SHARE
    assert office.do(send(payout.payout_id)).state is PayoutState.SENT
    settled = office.do(RecordPayout(payout.payout_id, PayoutEvent.SETTLE))
    assert (settled.state, settled.transaction_data, settled.transaction_ref) == (
        PayoutState.SETTLED,
        "0xf8",
        "0x01",
    )
    earnings: WorkerEarnings = office.do(GetEarnings(WORKER, 10))
    assert (earnings.earned, earnings.paid_out, earnings.under_way) == (2 * SHARE, 2 * SHARE, 0)
    assert earnings.payouts == (settled,)
    assert office.do(ListPayable(MicroUsd(1), 10)) == ()


def test_a_plan_that_is_recorded_twice_pays_once(office: Office) -> None:
    earn(office)
    assert len(office.do(RecordPayouts(MicroUsd(1), 10))) == 1
    assert office.do(RecordPayouts(MicroUsd(1), 10)) == ()


def test_a_settlement_that_is_heard_twice_is_booked_once(office: Office) -> None:
    earn(office)
    (payout,) = office.do(RecordPayouts(MicroUsd(1), 10))
    office.do(send(payout.payout_id), RecordPayout(payout.payout_id, PayoutEvent.SETTLE))
    for event in (PayoutEvent.SETTLE, PayoutEvent.REFUSE, PayoutEvent.LOSE_TRACK):
        assert office.do(RecordPayout(payout.payout_id, event)) is None
    assert office.do(GetEarnings(WORKER, 10)).paid_out == SHARE


def test_what_was_refused_is_owed_again(office: Office) -> None:
    earn(office)
    (payout,) = office.do(RecordPayouts(MicroUsd(1), 10))
    office.do(send(payout.payout_id), RecordPayout(payout.payout_id, PayoutEvent.LOSE_TRACK, reason="?"))
    assert office.do(ListPayable(MicroUsd(1), 10)) == ()
    refused = office.do(RecordPayout(payout.payout_id, PayoutEvent.REFUSE, reason="It expired."))
    assert (refused.state, refused.reason) == (PayoutState.REFUSED, "It expired.")
    (again,) = office.do(RecordPayouts(MicroUsd(1), 10))
    assert (again.amount, again.payout_id != payout.payout_id) == (SHARE, True)


def test_money_that_is_earned_while_a_payout_is_open_waits_for_the_next(office: Office) -> None:
    earn(office)
    (payout,) = office.do(RecordPayouts(MicroUsd(1), 10))
    office.commit("more", a_payment("pay-more", credit_token_hash="m"))
    office.complete("more")
    office.do(send(payout.payout_id), RecordPayout(payout.payout_id, PayoutEvent.SETTLE))
    assert [one.amount for one in office.do(ListPayable(MicroUsd(1), 10))] == [SHARE]


def test_nothing_is_sent_whose_transaction_is_not_stored_with_that(office: Office) -> None:
    earn(office)
    (payout,) = office.do(RecordPayouts(MicroUsd(1), 10))
    with pytest.raises(ValueError, match="must be stored"):
        office.do(RecordPayout(payout.payout_id, PayoutEvent.SEND, transaction_ref="0x01"))
    assert office.do(LoadOpenPayouts()) == (payout,)
    sent = office.do(send(payout.payout_id))
    with pytest.raises(ValueError, match="must be stored"):
        office.do(RecordPayout(payout.payout_id, PayoutEvent.SEND_ANEW, replaces="0x01"))
    with pytest.raises(ValueError, match="take the place"):
        office.do(RecordPayout(payout.payout_id, PayoutEvent.SEND_ANEW, "0xf9", "0x02"))
    assert office.do(LoadOpenPayouts()) == (sent,)
