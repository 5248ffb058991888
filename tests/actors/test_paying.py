"""When a payment is settled, released, looked up and credited, and when the end of its job is told."""

from __future__ import annotations

import logging

import msgspec
import pytest

from compute_router.actors.messages.payment_gate import (
    AwaitsPayment,
    DrainPayments,
    DropFunds,
    FundsRefusal,
    HoldFunds,
    JobCommitted,
    OutcomeRead,
    SettleAnswered,
)
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import CREDIT_NETWORK, NotSettled, Refused, Settled, StillOpen, Unknown
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from tests.fakes.paying import PRICE, SECRET, Shop, a_payment

SECOND = 1_000
SOLANA = 45 * SECOND
SHARE = PRICE - PRICE // 20


def told(shop: Shop) -> list[tuple[JobStatus, PaymentState | None]]:
    """The ends that were told: how the job and its payment stood."""
    return [(view.status, view.payment.state if view.payment else None) for view in shop.told.views]


def problem(shop: Shop) -> str:
    """What health says of payments; nothing when all is well."""
    return shop.problem or ""


def completed(job_id: str = "job", *, lives: int = 3_600_000, policy: PaymentPolicy | None = None) -> Shop:
    """A shop in which a paid job is completed."""
    shop = Shop(policy)
    shop.commit(job_id, lives=lives)
    shop.complete(job_id)
    shop.settle_down()
    return shop


# A job is completed


def test_nothing_is_asked_for_while_a_job_is_unfinished() -> None:
    shop = Shop()
    shop.commit("job")
    shop.pass_time(3_000 * SECOND)
    assert shop.executor.settlements == []
    assert shop.state("job") is PaymentState.RESERVED


def test_a_completed_job_is_settled_and_told_when_the_chain_shows_the_money() -> None:
    shop = completed()
    assert shop.told.views == []
    assert shop.ask(AwaitsPayment("job"))
    shop.facilitator_settles()
    assert shop.told.views == []
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    (view,) = shop.told.views
    assert view.payment is not None
    assert view.payment.transaction_ref == "tx-pay-job"
    assert view.result is not None
    assert not shop.ask(AwaitsPayment("job"))
    assert (shop.paid(), shop.earned()) == (PRICE, SHARE)
    assert not shop.timers


def test_who_trusts_the_facilitator_waits_for_no_chain() -> None:
    shop = completed(policy=PaymentPolicy(check_settlements=False))
    shop.facilitator_settles()
    assert shop.executor.readings == []
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]


def test_settlement_is_durable_before_it_is_asked_for() -> None:
    shop = Shop()
    shop.commit("job")
    shop.complete("job")
    shop.deliver_end()
    assert shop.state("job") is PaymentState.RESERVED
    assert shop.executor.settlements == []
    shop.serve_store()
    assert shop.state("job") is PaymentState.SETTLING
    assert shop.executor.settlements == []
    shop.deliver_answer()
    assert len(shop.executor.settlements) == 1


def test_a_refused_settlement_withholds_the_result_and_credits_the_worker() -> None:
    shop = completed()
    shop.chain.poor.add("alice")
    shop.facilitator_settles()
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.VOID)]
    assert (shop.paid(), shop.earned()) == (0, SHARE)
    assert shop.disk.balance("operator:losses") == -PRICE


def test_what_is_told_carries_no_authorization() -> None:
    shop = completed()
    shop.facilitator_settles()
    shop.chain_says()
    (view,) = shop.told.views
    assert not hasattr(view.payment, "payload")
    assert SECRET.decode() not in repr(view)


# A job fails


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_job_without_a_result_is_never_charged(end: str) -> None:
    shop = Shop()
    shop.commit("job")
    getattr(shop, end)("job")
    shop.settle_down()
    assert shop.executor.settlements == []
    ((_, state),) = told(shop)
    assert state is PaymentState.VOID
    assert shop.payment("job").state is PaymentState.VOID
    assert (shop.paid(), shop.earned(), shop.credit()) == (0, 0, 0)
    shop.pass_time(4_000 * SECOND)
    assert shop.executor.settlements == []


def test_what_was_settled_early_for_a_job_that_fails_becomes_a_credit() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.facilitator_settles()
    shop.chain_says()
    assert shop.state("job") is PaymentState.SETTLED
    shop.fail("job")
    shop.settle_down()
    assert told(shop) == [(JobStatus.FAILED, PaymentState.CREDITED)]
    assert (shop.paid(), shop.credit()) == (PRICE, PRICE)


def test_a_job_that_fails_while_it_is_settled_waits_for_the_answer_and_is_credited() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.fail("job")
    shop.settle_down()
    assert shop.told.views == []
    shop.facilitator_settles()
    shop.chain_says()
    assert told(shop) == [(JobStatus.FAILED, PaymentState.CREDITED)]


def test_the_end_of_a_failed_job_is_told_although_nobody_knows_of_its_payment() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.fail("job")
    shop.settle_down()
    shop.facilitator_says(Unknown("silence"))
    assert told(shop) == [(JobStatus.FAILED, PaymentState.UNKNOWN)]
    shop.pass_time(20 * SECOND)
    shop.chain_says()
    assert shop.state("job") is PaymentState.VOID
    assert len(told(shop)) == 1


# An authorization is about to expire


def test_an_authorization_is_settled_shortly_before_it_expires() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(29 * SECOND)
    assert shop.executor.settlements == []
    shop.pass_time(2 * SECOND)
    assert len(shop.executor.settlements) == 1


def test_a_job_that_was_settled_early_is_told_as_soon_as_it_is_completed() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.facilitator_settles()
    shop.chain_says()
    assert shop.told.views == []
    shop.complete("job")
    shop.settle_down()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert (shop.paid(), shop.earned()) == (PRICE, SHARE)


def test_a_job_whose_early_settlement_is_refused_is_cancelled() -> None:
    shop = Shop()
    shop.chain.poor.add("alice")
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.facilitator_settles()
    shop.chain_says()
    assert told(shop) == [(JobStatus.CANCELLED, PaymentState.VOID)]


def test_a_job_that_completes_although_its_early_settlement_was_refused_is_not_given_away() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.complete("job")
    shop.chain.poor.add("alice")
    shop.facilitator_settles()
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.VOID)]
    assert shop.earned() == SHARE


def test_a_wall_clock_that_is_set_forward_is_noticed_within_a_minute() -> None:
    shop = Shop()
    shop.commit("job", lives=3_600 * SECOND)
    shop.clock.step_wall(3_595 * SECOND)
    shop.pass_time(60 * SECOND + 1)
    assert len(shop.executor.settlements) == 1


def test_a_wall_clock_that_is_set_back_settles_nothing_early() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.clock.step_wall(-3_600 * SECOND)
    shop.pass_time(60 * SECOND)
    assert shop.executor.settlements == []


# Nobody knows


def test_after_silence_the_chain_decides_and_nothing_is_asked_again_before() -> None:
    shop = completed()
    shop.chain.carry_out(shop.payment("job"))
    shop.facilitator_says(Unknown("silence"))
    assert shop.state("job") is PaymentState.UNKNOWN
    assert shop.executor.settlements == []
    shop.pass_time(2 * SECOND)
    assert shop.executor.settlements == []
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert shop.paid() == PRICE


def test_what_the_chain_has_not_seen_is_asked_for_again_while_it_can_be() -> None:
    shop = completed()
    shop.facilitator_says(Unknown("silence"))
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    assert len(shop.executor.settlements) == 1
    shop.facilitator_settles()
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]


def test_a_refusal_of_what_was_asked_for_twice_is_not_believed() -> None:
    shop = completed()
    shop.facilitator_says(Unknown("silence"))
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    # Only now does the first question come to the facilitator.
    shop.chain.carry_out(shop.payment("job"))
    shop.facilitator_says(Refused("it was used"))
    assert shop.state("job") is PaymentState.UNKNOWN
    shop.pass_time(5 * SECOND)
    shop.chain_says()
    assert shop.state("job") is PaymentState.SETTLED


def test_what_expired_unseen_is_void() -> None:
    shop = completed(lives=60 * SECOND)
    shop.facilitator_says(Unknown("silence"))
    shop.clock.advance(60 * SECOND)
    shop.fire_timers()
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.VOID)]


def test_a_job_that_failed_is_not_asked_for_again() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.facilitator_says(Unknown("silence"))
    shop.fail("job")
    shop.settle_down()
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    assert shop.executor.settlements == []


def test_a_chain_that_cannot_be_read_is_asked_again_ever_more_seldom() -> None:
    shop = completed()
    shop.facilitator_says(Unknown("silence"))
    pauses = []
    for _ in range(9):
        before = shop.clock.steady_ms()
        while not shop.executor.readings:
            shop.pass_time(500)
        pauses.append((shop.clock.steady_ms() - before) // SECOND)
        shop.chain_says(unreadable=True)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert shop.problem is not None
    assert "chain" in shop.problem
    assert shop.told.views == []
    shop.pass_time(60 * SECOND)
    shop.chain.carry_out(shop.payment("job"))
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert shop.problem is None


def test_a_refusal_while_the_first_question_is_still_on_its_way_ends_nothing() -> None:
    shop = completed()
    on_its_way = shop.facilitator_says(Unknown("silence"))
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    shop.facilitator_says(Refused("it is being settled"))
    shop.pass_time(5 * SECOND)
    shop.chain_says()
    assert shop.state("job") is PaymentState.UNKNOWN
    shop.chain.carry_out(on_its_way)
    shop.executor.settlements.clear()
    shop.tell(SettleAnswered("pay-job", Refused("it was used")))
    shop.pass_time(10 * SECOND)
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]


def test_a_chain_whose_clock_is_behind_is_not_asked_for_what_has_expired() -> None:
    shop = completed(lives=60 * SECOND)
    shop.facilitator_says(Unknown("silence"))
    shop.clock.advance(61 * SECOND)
    shop.fire_timers()
    shop.executor.readings.clear()
    shop.tell(OutcomeRead("pay-job", StillOpen()))
    assert shop.executor.settlements == []
    assert shop.state("job") is PaymentState.UNKNOWN


def test_an_outcome_that_nobody_asked_for_changes_nothing() -> None:
    shop = completed()
    shop.tell(OutcomeRead("pay-job", NotSettled("it expired")))
    shop.settle_down()
    assert shop.state("job") is PaymentState.SETTLING


def test_a_job_that_completes_while_its_payment_is_in_doubt_is_looked_up_at_once() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.facilitator_says(Unknown("silence"))
    shop.pass_time(2 * SECOND)
    shop.chain_says(unreadable=True)
    assert shop.executor.readings == []
    shop.complete("job")
    shop.settle_down()
    assert len(shop.executor.readings) == 1


def test_news_that_is_older_than_what_is_known_is_passed_over() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    # Stored before settlement was asked for, and told after it.
    shop.complete("job")
    late = shop.ends.popleft()
    shop.pass_time(31 * SECOND)
    assert len(shop.executor.settlements) == 1
    shop.ends.append(late)
    shop.settle_down()
    shop.facilitator_says(Unknown("silence"))
    assert shop.state("job") is PaymentState.UNKNOWN
    shop.pass_time(2 * SECOND)
    assert shop.executor.settlements == []


@pytest.mark.parametrize("early", [False, True])
def test_an_end_that_says_nothing_of_its_payment_is_settled_with_the_store(early: bool) -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    if early:
        shop.pass_time(31 * SECOND)
        shop.facilitator_settles()
        shop.chain_says()
    shop.fail("job")
    shop.ends.append(msgspec.structs.replace(shop.ends.popleft(), payment=None))
    shop.settle_down()
    wanted = PaymentState.CREDITED if early else PaymentState.VOID
    assert told(shop) == [(JobStatus.FAILED, wanted)]
    assert not shop.timers


# The facilitator lies


def test_a_settlement_that_the_chain_does_not_show_is_not_believed() -> None:
    shop = completed()
    shop.facilitator_says(Settled("a lie"))
    shop.chain_says()
    assert shop.state("job") is PaymentState.UNKNOWN
    assert shop.told.views == []


def test_a_refusal_is_not_believed_when_the_chain_shows_the_money() -> None:
    shop = completed()
    shop.chain.carry_out(shop.payment("job"))
    shop.facilitator_says(Refused("a lie"))
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]


def test_a_refusal_waits_for_a_chain_that_cannot_be_read() -> None:
    shop = completed()
    shop.chain.carry_out(shop.payment("job"))
    shop.facilitator_says(Refused("a lie"))
    shop.chain_says(unreadable=True)
    assert shop.state("job") is PaymentState.SETTLING
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    assert shop.state("job") is PaymentState.SETTLED


def test_a_chain_that_cannot_be_read_delays_no_settlement_that_was_confirmed() -> None:
    shop = completed()
    shop.facilitator_settles()
    shop.chain_says(unreadable=True)
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]


def test_a_second_answer_to_the_same_question_changes_nothing() -> None:
    shop = completed()
    shop.facilitator_settles()
    shop.tell(SettleAnswered("pay-job", Refused("after all")))
    shop.chain_says()
    shop.tell(SettleAnswered("pay-job", Refused("after all")))
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert shop.state("job") is PaymentState.SETTLED


# The facilitator is down


def down() -> Shop:
    """A facilitator that has not answered three times."""
    shop = Shop()
    for number in range(3):
        shop.commit(f"old-{number}")
        shop.complete(f"old-{number}")
    shop.settle_down()
    for _ in range(3):
        shop.facilitator_says(Unknown("silence"))
    return shop


def test_after_three_silences_the_facilitator_is_called_down() -> None:
    assert "facilitator" in (down().problem or "")


def test_while_it_is_down_nothing_new_is_put_in_doubt() -> None:
    shop = down()
    shop.commit("job")
    shop.complete("job")
    shop.settle_down()
    assert shop.state("job") is PaymentState.RESERVED
    assert shop.executor.settlements == []


def test_it_is_tried_again_and_what_waited_is_settled() -> None:
    shop = down()
    shop.commit("job")
    shop.complete("job")
    shop.pass_time(1_100)
    shop.facilitator_is("it is ill")
    assert "facilitator" in problem(shop)
    shop.pass_time(2_100)
    shop.facilitator_is(None)
    assert problem(shop) == ""
    assert "pay-job" in [payment.payment_id for payment in shop.executor.settlements]


def test_what_expires_while_it_is_down_is_decided_all_the_same() -> None:
    shop = down()
    shop.commit("job", lives=SOLANA)
    shop.complete("job")
    shop.pass_time(46 * SECOND)
    (payment,) = shop.executor.settlements
    assert payment.payment_id == "pay-job"
    shop.executor.readings.clear()
    shop.facilitator_says(Unknown("silence"))
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    assert shop.state("job") is PaymentState.VOID


# Restarts


def test_a_settlement_that_was_under_way_at_a_crash_is_looked_up_and_not_asked_again() -> None:
    shop = completed()
    shop.chain.carry_out(shop.payment("job"))
    shop.crash()
    shop.settle_down()
    assert shop.state("job") is PaymentState.UNKNOWN
    assert shop.executor.settlements == []
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    assert shop.executor.settlements == []
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert shop.paid() == PRICE


def test_a_completed_job_that_was_not_asked_for_at_a_crash_is_settled() -> None:
    shop = Shop()
    shop.commit("job")
    shop.complete("job")
    shop.crash()
    shop.settle_down()
    assert shop.ask(AwaitsPayment("job"))
    shop.facilitator_settles()
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]


def test_a_reserved_payment_keeps_its_time_over_a_crash() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(20 * SECOND)
    shop.crash()
    shop.pass_time(9 * SECOND)
    assert shop.executor.settlements == []
    shop.pass_time(2 * SECOND)
    assert len(shop.executor.settlements) == 1


def test_what_was_settled_early_before_a_crash_is_still_credited() -> None:
    shop = Shop()
    shop.commit("job", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.facilitator_settles()
    shop.chain_says()
    shop.crash()
    shop.fail("job")
    shop.settle_down()
    assert told(shop) == [(JobStatus.FAILED, PaymentState.CREDITED)]
    assert shop.credit() == PRICE


# Credits


def test_a_job_that_is_paid_by_credit_is_told_at_once() -> None:
    shop = Shop()
    shop.commit("lost", lives=SOLANA)
    shop.pass_time(31 * SECOND)
    shop.facilitator_settles()
    shop.chain_says()
    shop.fail("lost")
    shop.settle_down()
    shop.told.views.clear()
    credit = a_payment(
        "job",
        "alice",
        UnixMs(shop.clock.unix_ms()),
        payment_id="credit/job",
        network=CREDIT_NETWORK,
        spends="hash-lost",
    )
    shop.insert("job", credit)
    shop.tell(JobCommitted("job", credit))
    shop.complete("job")
    shop.settle_down()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert shop.executor.settlements == []
    assert (shop.paid(), shop.credit(), shop.earned()) == (PRICE, 0, SHARE)


# Funds


def wish(job_id: str, amount: int, balance: int | None, payer: str = "alice") -> HoldFunds:
    known = None if balance is None else MicroUsd(balance)
    return HoldFunds(job_id, f"pay-{job_id}", payer, MicroUsd(amount), known)


def test_two_commits_at_once_cannot_promise_the_same_balance() -> None:
    shop = Shop()
    assert shop.ask(wish("one", 10, 15)) is None
    assert shop.ask(wish("two", 10, 15)) is FundsRefusal.BALANCE_TOO_LOW
    assert shop.ask(wish("two", 10, 15, payer="bob")) is None
    shop.tell(DropFunds("one"))
    assert shop.ask(wish("two", 10, 15)) is None


def test_reserved_payments_count_until_they_are_decided() -> None:
    shop = Shop()
    assert shop.ask(wish("job", PRICE, PRICE)) is None
    shop.commit("job")
    assert shop.ask(wish("next", PRICE, PRICE)) is FundsRefusal.BALANCE_TOO_LOW
    shop.complete("job")
    shop.settle_down()
    shop.facilitator_settles()
    assert shop.ask(wish("next", PRICE, PRICE)) is FundsRefusal.BALANCE_TOO_LOW
    shop.chain_says()
    assert shop.ask(wish("next", PRICE, PRICE)) is None


def test_after_a_crash_open_payments_still_count() -> None:
    shop = Shop()
    shop.commit("job")
    shop.crash()
    assert shop.ask(wish("next", 1, PRICE)) is FundsRefusal.BALANCE_TOO_LOW


def test_a_payment_that_is_shown_again_is_for_the_store_to_refuse() -> None:
    shop = Shop()
    assert shop.ask(wish("job", PRICE, PRICE)) is None
    assert shop.ask(HoldFunds("again", "pay-job", "alice", PRICE, PRICE)) is None
    shop.tell(DropFunds("again"))
    shop.commit("job")
    assert shop.ask(HoldFunds("again", "pay-job", "alice", PRICE, PRICE)) is None
    assert shop.ask(wish("next", 1, PRICE)) is FundsRefusal.BALANCE_TOO_LOW


def test_while_the_chain_cannot_be_read_a_payer_may_owe_only_so_much() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=MicroUsd(100)))
    assert shop.ask(wish("one", 60, None)) is None
    assert shop.ask(wish("two", 60, None)) is FundsRefusal.TOO_MUCH_UNSETTLED
    assert shop.ask(wish("two", 60, 1_000)) is None


# The stop


def drained(shop: Shop) -> list[str]:
    calls: list[str] = []
    shop.ask(DrainPayments(lambda: calls.append("idle")))
    return calls


def test_a_stop_waits_for_settlements_under_way() -> None:
    shop = completed()
    calls = drained(shop)
    assert calls == []
    shop.facilitator_settles()
    assert calls == []
    shop.chain_says()
    assert calls == ["idle"]


def test_a_stop_does_not_wait_for_unfinished_jobs_or_for_what_nobody_knows() -> None:
    shop = completed()
    shop.commit("other")
    shop.facilitator_says(Unknown("silence"))
    assert drained(shop) == ["idle"]


def test_a_payment_that_the_store_does_not_know_is_dropped(expected_errors: list[logging.LogRecord]) -> None:
    shop = Shop()
    shop.tell(JobCommitted("job", a_payment("job", "alice", UnixMs(shop.clock.unix_ms()))))
    shop.settle_down()
    assert not shop.timers
    assert "not in the store" in expected_errors[0].getMessage()


def test_the_policy_doubles_its_pauses_up_to_the_most() -> None:
    policy = PaymentPolicy(retry_backoff=DurationMs(10), max_backoff=DurationMs(35))
    assert [policy.backoff(tries) for tries in (0, 1, 2, 99)] == [10, 20, 35, 35]
