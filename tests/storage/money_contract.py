"""What every store must do with money; part of the contract."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import Journal
from compute_router.protocol.payment_state import (
    OPEN_PAYMENTS,
    PAYMENT_TRANSITIONS,
    PaymentEvent,
    PaymentState,
)
from compute_router.protocol.payments import (
    Earnings,
    Entry,
    Loss,
    MoneyTotals,
    Payable,
    Payment,
    PaymentView,
    PayoutAddress,
)
from compute_router.protocol.payout_state import PAYOUT_TRANSITIONS, PayoutEvent, PayoutState
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.interface import JobView, Store
from tests.storage.money_samples import (
    EXPIRES,
    FEE,
    PAYER,
    PRICE,
    TOKEN_HASH,
    a_credit,
    a_payment,
    a_payout,
    by_credit,
    commit_paid,
)
from tests.storage.samples import ALICE, DESKTOP, ERROR, LEASE_END, NOON, OUTPUT, PHONE, a_job, insert, later

PATH_TO = {
    PaymentState.RESERVED: (),
    PaymentState.SETTLING: (PaymentEvent.ASK,),
    PaymentState.UNKNOWN: (PaymentEvent.ASK, PaymentEvent.LOSE_TRACK),
    PaymentState.SETTLED: (PaymentEvent.ASK, PaymentEvent.CONFIRM),
    PaymentState.VOID: (PaymentEvent.RELEASE,),
    PaymentState.CREDITED: (PaymentEvent.ASK, PaymentEvent.CONFIRM, PaymentEvent.CREDIT),
}
PAYOUT_PATH_TO = {
    PayoutState.RECORDED: (),
    PayoutState.SENT: (PayoutEvent.SEND,),
    PayoutState.UNKNOWN: (PayoutEvent.SEND, PayoutEvent.LOSE_TRACK),
    PayoutState.SETTLED: (PayoutEvent.SEND, PayoutEvent.SETTLE),
    PayoutState.REFUSED: (PayoutEvent.REFUSE,),
}
OPEN_PAYOUT_STATES = [PayoutState.RECORDED, PayoutState.SENT, PayoutState.UNKNOWN]
COMPLETED = Journal(
    "completion:pay-1",
    (
        Entry(f"worker:{DESKTOP}", MicroUsd(9_500)),
        Entry("operator:fees", MicroUsd(500)),
        Entry("receivable", MicroUsd(-10_000)),
    ),
)
HOME = PayoutAddress(DESKTOP, "0xHome", NOON)


def move(store: Store, *events: PaymentEvent, payment_id: str = "pay-1") -> bool:
    """Make steps of a payment, each in a transaction of its own; whether the last one was possible."""
    moved = True
    for event in events:
        with store.transaction():
            moved = store.move_payment(payment_id, event, later(7))
    return moved


def move_out(store: Store, *events: PayoutEvent, payout_id: str = "out-1") -> bool:
    """Make steps of a payout; whether the last one was possible."""
    moved = True
    for event in events:
        with store.transaction():
            moved = store.move_payout(payout_id, event, later(7))
    return moved


def kept(store: Store, payment_id: str = "pay-1") -> Payment:
    payment = store.payment(payment_id)
    assert payment is not None
    return payment


def post(store: Store, *journals: Journal) -> None:
    with store.transaction():
        for journal in journals:
            store.post(journal, NOON)


def earn(store: Store, pubkey: str, amount: int, name: str = "completion:x") -> None:
    """Owe a worker an amount, by a journal of this name."""
    entries = (Entry(f"worker:{pubkey}", MicroUsd(amount)), Entry("receivable", MicroUsd(-amount)))
    post(store, Journal(name, entries))


def name_address(store: Store, *addresses: PayoutAddress) -> list[bool]:
    answers = []
    for address in addresses:
        with store.transaction():
            answers.append(store.put_payout_address(address))
    return answers


def record(store: Store, *payouts: object) -> list[bool]:
    answers = []
    for payout in payouts:
        with store.transaction():
            answers.append(store.put_payout(payout))  # type: ignore[arg-type]
    return answers


class MoneyContract:
    """Payments are taken once, credits spent once, journals written once, and payouts open once."""

    constraint_error: ClassVar[type[Exception]]

    # Payments

    def test_a_payment_is_kept_as_it_came_and_belongs_to_its_job(self, store: Store) -> None:
        commit_paid(store)
        assert store.payment("pay-1") == Payment(
            payment_id="pay-1",
            job_id="job-1",
            payer=PAYER,
            network="eip155:10143",
            asset="0xUSDC",
            pay_to="0xOperator",
            amount=PRICE,
            fee=FEE,
            state=PaymentState.RESERVED,
            expires_at=EXPIRES,
            x402_version=2,
            payload='{"signature": "0xé"}'.encode(),
            requirements=b'{"scheme":"exact"}',
            credit_token_hash=TOKEN_HASH,
        )
        assert store.payment_of("job-1") == store.payment("pay-1")

    def test_a_payment_that_nobody_made_is_not_there(self, store: Store) -> None:
        assert store.payment("pay-1") is None
        assert store.payment_of("job-1") is None

    def test_a_payment_by_credit_is_settled_from_the_start(self, store: Store) -> None:
        commit_paid(store, payment=by_credit("job-1"))
        payment = kept(store, "credit/job-1")
        assert (payment.state, payment.spends) == (PaymentState.SETTLED, TOKEN_HASH)

    def test_an_authorization_is_taken_once_whatever_became_of_it(self, store: Store) -> None:
        commit_paid(store)
        for _ in ("reserved", "void"):
            with store.transaction():
                assert not store.reserve_payment(a_payment(payer="mallory"), "job-2", NOON)
            move(store, PaymentEvent.RELEASE)
        assert kept(store).payer == PAYER

    def test_a_job_has_one_payment(self, store: Store) -> None:
        commit_paid(store)
        with pytest.raises(self.constraint_error), store.transaction():
            store.reserve_payment(a_payment("pay-2"), "job-1", NOON)

    @pytest.mark.parametrize("changes", [{"amount": 0, "fee": 0}, {"amount": -1, "fee": 0}, {"fee": 10_001}])
    def test_a_payment_of_nothing_or_of_less_than_its_fee_is_refused(
        self, store: Store, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(self.constraint_error):
            commit_paid(store, payment=a_payment(**changes))
        assert store.job_view("job-1") is None

    def test_a_payment_and_its_job_are_kept_together_or_not_at_all(self, store: Store) -> None:
        def commit_and_fail() -> None:
            with store.transaction():
                store.insert_job(a_job(), paid=True)
                store.reserve_payment(a_payment(), "job-1", NOON)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            commit_and_fail()
        assert store.payment("pay-1") is None
        assert store.job_view("job-1") is None

    @pytest.mark.parametrize("event", PaymentEvent)
    @pytest.mark.parametrize("state", PaymentState)
    def test_a_payment_makes_the_steps_of_the_table_and_no_others(
        self, store: Store, state: PaymentState, event: PaymentEvent
    ) -> None:
        commit_paid(store)
        move(store, *PATH_TO[state])
        assert kept(store).state is state
        target = PAYMENT_TRANSITIONS.get((state, event))
        assert move(store, event) == (target is not None)
        assert kept(store).state is (target or state)

    def test_an_unknown_payment_cannot_move(self, store: Store) -> None:
        assert not move(store, PaymentEvent.ASK)

    def test_what_is_known_of_a_settlement_stays_with_the_payment(self, store: Store) -> None:
        commit_paid(store)
        move(store, PaymentEvent.ASK)
        with store.transaction():
            store.move_payment("pay-1", PaymentEvent.LOSE_TRACK, later(1), reason="It did not answer.")
        with store.transaction():
            store.move_payment("pay-1", PaymentEvent.CONFIRM, later(2), transaction_ref="0xabc")
        for more in ((), (PaymentEvent.CREDIT,)):
            move(store, *more)
            payment = kept(store)
            assert (payment.transaction_ref, payment.reason) == ("0xabc", "It did not answer.")

    def test_a_job_shows_its_payment_and_a_free_one_shows_none(self, store: Store) -> None:
        commit_paid(store)
        insert(store, a_job("job-2"))
        move(store, PaymentEvent.ASK)
        with store.transaction():
            store.move_payment("pay-1", PaymentEvent.CONFIRM, later(2), transaction_ref="0xabc")
        expected = PaymentView(
            payment_id="pay-1",
            job_id="job-1",
            payer=PAYER,
            network="eip155:10143",
            amount=PRICE,
            fee=FEE,
            state=PaymentState.SETTLED,
            transaction_ref="0xabc",
        )
        views = [store.job_view(job_id) for job_id in ("job-1", "job-2")]
        assert [view and view.payment for view in views] == [expected, None]

    @pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
    def test_the_end_of_a_paid_job_names_its_payment(self, store: Store, end: str) -> None:
        commit_paid(store)
        view: JobView | None
        with store.transaction():
            store.assign_job("job-1", 1, DESKTOP, LEASE_END)
            if end == "complete":
                view = store.complete_job("job-1", 1, DESKTOP, OUTPUT, later(5))
            elif end == "fail":
                view = store.fail_job("job-1", 1, ERROR, later(5))
            else:
                view = store.cancel_job("job-1", ERROR, later(5))
        assert view is not None
        assert view.payment == kept(store).view()

    @pytest.mark.parametrize("state", PaymentState)
    def test_a_restart_finds_what_is_not_at_its_end(self, store: Store, state: PaymentState) -> None:
        commit_paid(store)
        move(store, *PATH_TO[state])
        found = store.open_payments()
        open_or_early = state in OPEN_PAYMENTS or state is PaymentState.SETTLED
        assert found == (((kept(store), JobStatus.PENDING),) if open_or_early else ())

    def test_a_restart_finds_open_payments_of_ended_jobs_and_not_settled_ones(self, store: Store) -> None:
        for number in (1, 2):
            commit_paid(
                store, f"job-{number}", a_payment(f"pay-{number}", expires_at=UnixMs(EXPIRES - number))
            )
            with store.transaction():
                store.fail_job(f"job-{number}", 0, ERROR, later(5))
        assert [payment.payment_id for payment, _ in store.open_payments()] == ["pay-2", "pay-1"]
        move(store, PaymentEvent.ASK, PaymentEvent.CONFIRM)
        assert [(payment.payment_id, status) for payment, status in store.open_payments()] == [
            ("pay-2", JobStatus.FAILED)
        ]

    @pytest.mark.parametrize("state", PaymentState)
    def test_a_job_is_deleted_only_when_its_payment_is_decided(
        self, store: Store, state: PaymentState
    ) -> None:
        commit_paid(store)
        insert(store, a_job("free"))
        move(store, *PATH_TO[state])
        with store.transaction():
            for job_id in ("job-1", "free"):
                store.fail_job(job_id, 0, ERROR, later(5))
            assert store.delete_finished(later(6), 10) == (1 if state in OPEN_PAYMENTS else 2)
        assert kept(store).state is state

    # What was given up, and what was lost

    def test_what_became_void_is_looked_up_when_its_time_comes_longest_due_first(self, store: Store) -> None:
        for name, at in (("pay-1", 30), ("pay-2", 10), ("pay-3", None)):
            commit_paid(store, f"job-{name}", a_payment(name, credit_token_hash=name))
            with store.transaction():
                look_at = None if at is None else later(at)
                assert store.move_payment(name, PaymentEvent.RELEASE, NOON, look_at=look_at)
        assert store.next_look() == later(10)
        assert store.payments_to_look_at(later(9), 5) == ()
        assert store.payments_to_look_at(later(30), 5) == (kept(store, "pay-2"), kept(store, "pay-1"))
        assert store.payments_to_look_at(later(30), 1) == (kept(store, "pay-2"),)

    def test_what_was_looked_up_is_looked_up_again_later_or_never(self, store: Store) -> None:
        commit_paid(store)
        with store.transaction():
            assert not store.look_again("pay-1", NOON)
            store.move_payment("pay-1", PaymentEvent.RELEASE, NOON, look_at=later(1))
            assert store.look_again("pay-1", later(5))
        assert store.next_look() == later(5)
        with store.transaction():
            assert store.look_again("pay-1", None)
        assert store.next_look() is None

    def test_a_payment_that_came_after_all_is_looked_up_no_more(self, store: Store) -> None:
        commit_paid(store)
        with store.transaction():
            store.move_payment("pay-1", PaymentEvent.RELEASE, NOON, look_at=later(1))
            assert store.move_payment("pay-1", PaymentEvent.CONFIRM, later(2), transaction_ref="0x1")
        assert kept(store).state is PaymentState.SETTLED
        assert store.next_look() is None

    def test_a_job_whose_payment_is_to_be_looked_up_is_not_deleted(self, store: Store) -> None:
        commit_paid(store)
        with store.transaction():
            store.cancel_job("job-1", ERROR, NOON)
            store.move_payment("pay-1", PaymentEvent.RELEASE, NOON, look_at=later(1))
            assert store.delete_finished(later(9), 5) == 0
            store.look_again("pay-1", None)
            assert store.delete_finished(later(9), 5) == 1

    def test_losses_are_kept_until_they_are_made_good(self, store: Store) -> None:
        for name, at in (("pay-1", 7), ("pay-2", 3)):
            commit_paid(store, f"job-{name}", a_payment(name, credit_token_hash=name))
            with store.transaction():
                assert store.note_loss(name, later(at))
        assert store.losses() == (
            Loss("pay-2", PAYER, PRICE, later(3)),
            Loss("pay-1", PAYER, PRICE, later(7)),
        )
        with store.transaction():
            assert store.note_loss("pay-2", None)
        assert [loss.payment_id for loss in store.losses()] == ["pay-1"]

    def test_a_loss_is_noted_once_and_made_good_once(self, store: Store) -> None:
        commit_paid(store)
        with store.transaction():
            assert not store.note_loss("pay-1", None), "nothing is lost yet"
            assert store.note_loss("pay-1", later(3))
            assert not store.note_loss("pay-1", later(9)), "it is lost already"
            assert not store.note_loss("nobody", later(9))
        assert [loss.at for loss in store.losses()] == [later(3)]
        with store.transaction():
            assert store.note_loss("pay-1", None)
            assert not store.note_loss("pay-1", None), "it was made good already"
        assert store.losses() == ()

    # Credits

    def test_a_credit_can_be_spent_until_nothing_is_left(self, store: Store) -> None:
        with store.transaction():
            store.put_credit(a_credit(), NOON)
            assert store.spend_credit(TOKEN_HASH, PAYER, MicroUsd(3_000))
            assert not store.spend_credit(TOKEN_HASH, PAYER, MicroUsd(7_001))
            assert store.spend_credit(TOKEN_HASH, PAYER, MicroUsd(7_000))
            assert not store.spend_credit(TOKEN_HASH, PAYER, MicroUsd(1))
        assert store.credit(TOKEN_HASH) == a_credit(amount_left=MicroUsd(0))

    def test_a_credit_is_its_payers_alone(self, store: Store) -> None:
        with store.transaction():
            store.put_credit(a_credit(), NOON)
            assert not store.spend_credit(TOKEN_HASH, "0xMallory", MicroUsd(1))
        assert store.credit(TOKEN_HASH) == a_credit()

    def test_an_unknown_token_buys_nothing(self, store: Store) -> None:
        with store.transaction():
            assert not store.spend_credit(TOKEN_HASH, PAYER, MicroUsd(1))
        assert store.credit(TOKEN_HASH) is None

    @pytest.mark.parametrize("again", [a_credit("e" * 64), a_credit(payment_id="pay-2")])
    def test_a_payment_becomes_a_credit_once_and_a_token_stands_for_one(
        self, store: Store, again: object
    ) -> None:
        with store.transaction():
            store.put_credit(a_credit(), NOON)
        with pytest.raises(self.constraint_error), store.transaction():
            store.put_credit(again, NOON)  # type: ignore[arg-type]

    # The ledger

    def test_a_journal_is_kept_and_moves_the_balances(self, store: Store) -> None:
        post(store, COMPLETED)
        assert {entry.account: store.balance(entry.account) for entry in COMPLETED.entries} == {
            f"worker:{DESKTOP}": 9_500,
            "operator:fees": 500,
            "receivable": -10_000,
        }
        assert store.ledger_sum() == 0

    def test_balances_add_up_over_journals(self, store: Store) -> None:
        earn(store, DESKTOP, 5, "completion:a")
        earn(store, DESKTOP, 7, "completion:b")
        assert (store.balance(f"worker:{DESKTOP}"), store.balance("receivable")) == (12, -12)

    def test_a_journal_is_written_once(self, store: Store) -> None:
        post(store, COMPLETED)
        with pytest.raises(self.constraint_error):
            post(store, COMPLETED)
        assert store.balance(f"worker:{DESKTOP}") == 9_500

    def test_an_empty_ledger_holds_nothing(self, store: Store) -> None:
        assert (store.balance("receivable"), store.ledger_sum()) == (0, 0)

    # Payout addresses

    def test_totals_follow_every_step_of_every_payment(self, store: Store) -> None:
        assert store.money_totals() == MoneyTotals({}, {}, None)
        for number, events in enumerate([(), (), (PaymentEvent.ASK,), (PaymentEvent.RELEASE,)]):
            name = f"pay-{number}"
            with store.transaction():
                store.insert_job(a_job(f"job-{number}"), paid=True)
                store.reserve_payment(a_payment(name, credit_token_hash=name), f"job-{number}", NOON)
            move(store, *events, payment_id=name)
        totals = store.money_totals()
        assert totals.payments == {
            PaymentState.RESERVED: (2, 2 * PRICE),
            PaymentState.SETTLING: (1, PRICE),
            PaymentState.VOID: (1, PRICE),
        }
        assert totals.oldest_settlement == later(7)
        move(store, PaymentEvent.CONFIRM, payment_id="pay-2")
        totals = store.money_totals()
        assert PaymentState.SETTLING not in totals.payments
        assert totals.payments[PaymentState.SETTLED] == (1, PRICE)
        assert totals.oldest_settlement is None

    def test_a_settlement_whose_end_nobody_knows_waits_since_it_was_asked_for(self, store: Store) -> None:
        commit_paid(store)
        for at, event in ((5, PaymentEvent.ASK), (6, PaymentEvent.LOSE_TRACK), (7, PaymentEvent.LOSE_TRACK)):
            with store.transaction():
                assert store.move_payment("pay-1", event, later(at), reason=f"reason {at}")
        assert store.money_totals().oldest_settlement == later(5)
        assert kept(store).reason == "reason 7"

    def test_the_oldest_settlement_is_the_one_that_waits_longest(self, store: Store) -> None:
        for number, hour in ((1, 9), (2, 8)):
            name = f"pay-{number}"
            with store.transaction():
                store.insert_job(a_job(f"job-{number}"), paid=True)
                store.reserve_payment(a_payment(name, credit_token_hash=name), f"job-{number}", NOON)
                store.move_payment(name, PaymentEvent.ASK, later(hour))
        assert store.money_totals().oldest_settlement == later(8)

    def test_accounts_are_summed_by_their_kind(self, store: Store) -> None:
        with store.transaction():
            store.post(COMPLETED, NOON)
            other = Journal(
                "completion:other", (Entry("worker:b", MicroUsd(1)), Entry("payer:x", MicroUsd(-1)))
            )
            store.post(other, NOON)
        accounts = store.money_totals().accounts
        assert accounts == {"worker": 9_501, "operator:fees": 500, "receivable": -10_000, "payer": -1}
        assert sum(accounts.values()) == 0

    def test_the_newest_signed_address_counts(self, store: Store) -> None:
        newer = PayoutAddress(DESKTOP, "0xNewer", later(1))
        assert name_address(store, newer, HOME, PayoutAddress(DESKTOP, "0xReplay", later(1))) == [
            True,
            False,
            False,
        ]
        assert store.payout_address(DESKTOP) == newer
        assert store.payout_address(PHONE) is None

    # Payouts

    def test_who_is_owed_enough_is_payable_most_first(self, store: Store) -> None:
        earn(store, DESKTOP, 20_000, "completion:a")
        earn(store, PHONE, 30_000, "completion:b")
        earn(store, "e" * 64, 9_999, "completion:c")
        earn(store, "f" * 64, 99_999, "completion:nameless")
        name_address(store, HOME, PayoutAddress(PHONE, "0xPhone", NOON), PayoutAddress("e" * 64, "0xE", NOON))
        both = (Payable(PHONE, "0xPhone", MicroUsd(30_000)), Payable(DESKTOP, "0xHome", MicroUsd(20_000)))
        assert store.payable(MicroUsd(10_000), 10) == both
        assert store.payable(MicroUsd(10_000), 1) == both[:1]

    @pytest.mark.parametrize("threshold", [0, -5])
    def test_nobody_is_paid_nothing(self, store: Store, threshold: int) -> None:
        name_address(store, HOME)
        earn(store, DESKTOP, 0)
        assert store.payable(MicroUsd(threshold), 10) == ()

    @pytest.mark.parametrize("state", PayoutState)
    def test_who_has_an_open_payout_is_not_payable_and_gets_no_second(
        self, store: Store, state: PayoutState
    ) -> None:
        earn(store, DESKTOP, 20_000)
        name_address(store, HOME)
        assert record(store, a_payout()) == [True]
        move_out(store, *PAYOUT_PATH_TO[state])
        is_open = state in OPEN_PAYOUT_STATES
        assert store.payable(MicroUsd(1), 10) == (
            () if is_open else (Payable(DESKTOP, "0xHome", MicroUsd(20_000)),)
        )
        assert record(store, a_payout("out-2")) == [not is_open]

    def test_a_payout_is_recorded_as_it_was_planned(self, store: Store) -> None:
        record(store, a_payout())
        assert store.payout("out-1") == a_payout()
        assert store.payout("out-2") is None
        assert store.open_payouts() == (a_payout(),)

    @pytest.mark.parametrize("event", PayoutEvent)
    @pytest.mark.parametrize("state", PayoutState)
    def test_a_payout_makes_the_steps_of_the_table_and_no_others(
        self, store: Store, state: PayoutState, event: PayoutEvent
    ) -> None:
        record(store, a_payout())
        move_out(store, *PAYOUT_PATH_TO[state])
        target = PAYOUT_TRANSITIONS.get((state, event))
        assert move_out(store, event) == (target is not None)
        payout = store.payout("out-1")
        assert payout is not None
        assert payout.state is (target or state)

    def test_the_signed_transaction_stays_with_the_payout(self, store: Store) -> None:
        record(store, a_payout())
        with store.transaction():
            store.move_payout(
                "out-1", PayoutEvent.SEND, later(1), transaction_data="0xf8", transaction_ref="0xabc"
            )
            store.move_payout("out-1", PayoutEvent.LOSE_TRACK, later(2), reason="It did not answer.")
        assert store.open_payouts() == (
            a_payout(
                state=PayoutState.UNKNOWN,
                transaction_data="0xf8",
                transaction_ref="0xabc",
                reason="It did not answer.",
            ),
        )

    def test_a_transaction_takes_the_place_of_the_one_that_is_named_and_of_no_other(
        self, store: Store
    ) -> None:
        record(store, a_payout())
        with store.transaction():
            store.move_payout(
                "out-1", PayoutEvent.SEND, later(1), transaction_data="0xf8", transaction_ref="0xabc"
            )
        made = []
        for anew, replaces in (("0xdef", "0xab"), ("0xdef", "0xabc"), ("0x123", "0xabc")):
            with store.transaction():
                made.append(
                    store.move_payout(
                        *("out-1", PayoutEvent.SEND_ANEW, later(2)),
                        transaction_data="0xf9",
                        transaction_ref=anew,
                        replaces=replaces,
                    )
                )
        assert made == [False, True, False]
        assert store.open_payouts() == (
            a_payout(state=PayoutState.SENT, transaction_data="0xf9", transaction_ref="0xdef"),
        )

    def test_payouts_are_listed_by_worker_newest_first(self, store: Store) -> None:
        for number in (1, 2, 3):
            record(store, a_payout(f"out-{number}", created_at=later(number)))
            move_out(store, PayoutEvent.REFUSE, payout_id=f"out-{number}")
        record(store, a_payout("other", pubkey=PHONE))
        assert [payout.payout_id for payout in store.payouts_of(DESKTOP, 2)] == ["out-3", "out-2"]

    def test_open_payouts_are_listed_oldest_first(self, store: Store) -> None:
        record(store, a_payout("late", created_at=later(2)), a_payout("early", pubkey=PHONE))
        assert [payout.payout_id for payout in store.open_payouts()] == ["early", "late"]

    @pytest.mark.parametrize("amount", [0, -1])
    def test_a_payout_of_nothing_is_refused(self, store: Store, amount: int) -> None:
        with pytest.raises(self.constraint_error):
            record(store, a_payout(amount=MicroUsd(amount)))

    # Earnings

    def test_a_worker_that_did_nothing_earned_nothing(self, store: Store) -> None:
        assert store.earnings(DESKTOP) == Earnings(MicroUsd(0), MicroUsd(0), MicroUsd(0))

    def test_earnings_are_what_was_earned_in_all_and_what_came_of_it(self, store: Store) -> None:
        earn(store, DESKTOP, 25_000)
        post(
            store,
            Journal(
                "payout:out-0",
                (Entry(f"worker:{DESKTOP}", MicroUsd(-8_000)), Entry(f"payout:{DESKTOP}", MicroUsd(8_000))),
            ),
        )
        record(store, a_payout())
        earnings = store.earnings(DESKTOP)
        assert earnings == Earnings(MicroUsd(25_000), MicroUsd(8_000), PRICE)
        assert earnings.pending == 17_000
        move_out(store, PayoutEvent.REFUSE)
        assert store.earnings(DESKTOP) == Earnings(MicroUsd(25_000), MicroUsd(8_000), MicroUsd(0))

    def test_changes_of_money_need_a_transaction(self, store: Store) -> None:
        for change in (
            lambda: store.reserve_payment(a_payment(), "job-1", NOON),
            lambda: store.move_payment("pay-1", PaymentEvent.ASK, NOON),
            lambda: store.put_credit(a_credit(), NOON),
            lambda: store.spend_credit(TOKEN_HASH, PAYER, MicroUsd(1)),
            lambda: store.post(COMPLETED, NOON),
            lambda: store.put_payout_address(HOME),
            lambda: store.put_payout(a_payout()),
            lambda: store.move_payout("out-1", PayoutEvent.SEND, NOON),
        ):
            with pytest.raises(RuntimeError):
                change()

    def test_a_view_of_a_paid_job_is_whole(self, store: Store) -> None:
        commit_paid(store)
        assert store.job_view("job-1") == JobView(
            job_id="job-1",
            user_id=ALICE,
            status=JobStatus.PENDING,
            result=None,
            created_at=NOON,
            completed_at=None,
            payment=kept(store).view(),
        )
