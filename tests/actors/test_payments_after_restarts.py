"""What a restart takes up, spent credits, and the orderly stop."""

from __future__ import annotations

import logging

from compute_router.actors.messages.payment_gate import (
    AwaitsPayment,
    ClaimPayment,
    DrainPayments,
    FundsMark,
    HoldFunds,
    JobCommitted,
)
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import CREDIT_NETWORK, Unknown
from compute_router.protocol.units import DurationMs, UnixMs
from tests.actors.payments import SECOND, SHARE, SOLANA, completed, told
from tests.fakes.paying import PRICE, Shop, a_payment


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
    shop.ask(ClaimPayment("next", "pay-next", "alice", PRICE, "next"))
    assert shop.ask(HoldFunds("next", PRICE, shop.ask(FundsMark()))) is None, "nothing is owed for it"


def test_the_policy_doubles_its_pauses_up_to_the_most() -> None:
    policy = PaymentPolicy(retry_backoff=DurationMs(10), max_backoff=DurationMs(35))
    assert [policy.backoff(tries) for tries in (0, 1, 2, 99)] == [10, 20, 35, 35]
