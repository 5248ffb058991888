"""When a payment is settled and when it is let go: completion, failure, early settlement."""

from __future__ import annotations

import pytest

from compute_router.actors.messages.payment_gate import AwaitsPayment
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Unknown
from tests.actors.payments import SECOND, SHARE, SOLANA, completed, told
from tests.fakes.paying import PRICE, SECRET, Shop


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
