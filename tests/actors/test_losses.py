"""Who did not pay for a completed job owes it; and when too much is lost, nobody is asked to pay any more."""

from __future__ import annotations

import msgspec
import pytest

from compute_router.actors.messages.payment_gate import (
    CheckLosses,
    ClaimPayment,
    FundsMark,
    FundsRefusal,
    HoldFunds,
)
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import PAYER_PREVENTS, Refused, Unknown
from compute_router.protocol.units import MicroUsd
from tests.actors.payments import SECOND, SOLANA, problem
from tests.fakes.paying import PRICE, Shop

HOUR = 3_600 * SECOND
IN_DEBT = FundsRefusal.PAYER_IN_DEBT


def lose(shop: Shop, job_id: str, payer: str = "alice") -> None:
    """A job is completed, and its payer's money is gone by then."""
    shop.commit(job_id, payer=payer)
    shop.complete(job_id)
    shop.settle_down()
    shop.facilitator_says(Refused("insufficient_funds"))
    shop.chain_says()


def wants(shop: Shop, job_id: str, balance: int, payer: str = "alice") -> object:
    """A payer with a balance commits another job."""
    claim = ClaimPayment(job_id, f"pay-{job_id}", payer, PRICE, job_id)
    mark = shop.ask(claim)
    if isinstance(mark, FundsRefusal):
        return mark
    return shop.ask(HoldFunds(job_id, MicroUsd(balance), shop.ask(FundsMark())))


def test_a_loss_stays_its_payers_debt_so_the_same_money_serves_no_second_time() -> None:
    shop = Shop()
    lose(shop, "job")
    assert wants(shop, "next", PRICE) is FundsRefusal.BALANCE_TOO_LOW
    assert wants(shop, "rich", 2 * PRICE) is None
    assert wants(shop, "another", PRICE, payer="bob") is None


def test_a_payer_whose_losses_reach_the_limit_is_refused_whatever_he_has() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=MicroUsd(2 * PRICE)))
    lose(shop, "one")
    assert wants(shop, "rich", 10 * PRICE) is None
    lose(shop, "two")
    assert wants(shop, "again", 10 * PRICE) is IN_DEBT
    assert wants(shop, "another", PRICE, payer="bob") is None


def expire(shop: Shop, job_id: str, later: Refused | None = None) -> None:
    """A job is completed, its settlement gets no answer or a ``later`` one, and its authorization ends."""
    shop.commit(job_id, lives=60 * SECOND)
    shop.complete(job_id)
    shop.settle_down()
    shop.facilitator_says(Unknown("status 503"))
    if later is not None:
        shop.pass_time(2 * SECOND)
        shop.chain_says()
        shop.facilitator_says(later)
    shop.clock.advance(60 * SECOND)
    while shop.state(job_id) is PaymentState.UNKNOWN:
        shop.pass_time(SECOND)
        while shop.executor.readings:
            shop.chain_says()


def test_a_refusal_that_came_while_the_payment_was_in_doubt_makes_a_debt_after_a_restart_too() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=PRICE))
    shop.commit("job", lives=60 * SECOND)
    shop.complete("job")
    shop.settle_down()
    shop.facilitator_says(Unknown("status 503"))
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    shop.facilitator_says(Refused("insufficient_funds"))
    shop.crash()
    shop.clock.advance(60 * SECOND)
    while shop.state("job") is PaymentState.UNKNOWN:
        shop.pass_time(SECOND)
        while shop.executor.readings:
            shop.chain_says()
    assert wants(shop, "next", 9 * PRICE) is IN_DEBT


def test_what_expired_while_nobody_came_for_it_is_a_loss_and_nobodys_debt() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=PRICE, max_losses=PRICE))
    expire(shop, "job")
    assert wants(shop, "next", PRICE) is None
    assert shop.ask(CheckLosses()) is not None
    shop.crash()
    assert wants(shop, "after", PRICE) is None
    assert shop.ask(CheckLosses()) is not None


def test_what_was_refused_before_it_expired_is_a_debt() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=PRICE))
    expire(shop, "job", Refused("insufficient_funds"))
    assert wants(shop, "next", 9 * PRICE) is IN_DEBT


SOLANA_SAYS = "transaction_simulation_failed"
MONAD_SAYS = "invalid_exact_evm_insufficient_balance"
REMOTE = PaymentPolicy(max_unsettled=PRICE)
OWN = PaymentPolicy(max_unsettled=PRICE, facilitator_is_own=True)


def unclear(code: str) -> Unknown:
    """A clear no that leaves it open whether the money moves after all."""
    return Unknown(code, code)


def let_expire(shop: Shop, job_id: str, again: Unknown | None = None) -> None:
    """Time passes until the payment is decided; what is asked ``again`` gets this answer."""
    for _ in range(400):
        shop.pass_time(SECOND)
        while shop.executor.settlements:
            shop.facilitator_says(again or Unknown("no answer within 35 s"))
        while shop.executor.probes:
            shop.facilitator_is(None)
        while shop.executor.readings:
            shop.chain_says()
        if shop.state(job_id) is PaymentState.VOID:
            return
    raise AssertionError("the payment is never decided")


def refused(shop: Shop, answer: Refused | Unknown, has: int | None, job_id: str = "job") -> None:
    """A job is completed, its settlement is refused so when its payer has so much, and never works."""
    shop.commit(job_id, lives=SOLANA)
    shop.complete(job_id)
    shop.settle_down()
    shop.facilitator_says(answer, has)
    let_expire(shop, job_id)


DEBTS = [
    (REMOTE, unclear(SOLANA_SAYS), 0),
    (REMOTE, unclear(SOLANA_SAYS), PRICE - 1),
    (REMOTE, unclear("transaction_failed"), 0),
    (REMOTE, unclear("settle_exact_svm_block_height_exceeded"), 0),
    (REMOTE, Refused(MONAD_SAYS), 0),
    (REMOTE, Refused(MONAD_SAYS), None),
    (OWN, unclear(PAYER_PREVENTS), PRICE),
    (OWN, unclear("transaction_failed"), PRICE),
    (OWN, Refused(MONAD_SAYS), PRICE),
    (OWN, Refused("invalid_exact_evm_payload_signature"), PRICE),
    (OWN, unclear(SOLANA_SAYS), 0),
]


@pytest.mark.parametrize(("policy", "answer", "has"), DEBTS, ids=str)
def test_who_is_shown_to_have_prevented_his_settlement_is_in_debt(
    policy: PaymentPolicy, answer: Refused | Unknown, has: int | None
) -> None:
    shop = Shop(policy)
    refused(shop, answer, has)
    assert wants(shop, "next", 9 * PRICE) is IN_DEBT
    shop.crash()
    assert wants(shop, "after", 9 * PRICE) is IN_DEBT


NO_DEBTS = [
    (REMOTE, unclear(SOLANA_SAYS), PRICE),
    (REMOTE, unclear(SOLANA_SAYS), None),
    (REMOTE, unclear("transaction_failed"), PRICE),
    (REMOTE, unclear("transaction_not_sent"), None),
    (REMOTE, unclear(PAYER_PREVENTS), PRICE),
    (REMOTE, Refused(MONAD_SAYS), PRICE),
    (REMOTE, Refused("insufficient_funds"), PRICE),
    (REMOTE, Refused("invalid_exact_evm_payload_signature"), PRICE),
    (REMOTE, Refused("fee_payer_not_managed_by_facilitator"), None),
    (REMOTE, unclear("settlement_pending"), 0),
    (REMOTE, unclear("duplicate_settlement"), 0),
    (REMOTE, unclear("answer_does_not_fit"), 0),
    (REMOTE, Unknown("insufficient_funds"), None),
    (OWN, unclear("blockhash_not_found"), 0),
    (OWN, unclear("invalid_exact_evm_payload_authorization_valid_before"), 0),
    (OWN, unclear(SOLANA_SAYS), PRICE),
    (OWN, Refused("invalid_payload"), PRICE),
    (OWN, Unknown("status 503"), None),
]


@pytest.mark.parametrize(("policy", "answer", "has"), NO_DEBTS, ids=str)
def test_what_shows_no_doing_of_the_payer_is_a_loss_and_nobodys_debt(
    policy: PaymentPolicy, answer: Refused | Unknown, has: int | None
) -> None:
    shop = Shop(msgspec.structs.replace(policy, max_losses=PRICE))
    refused(shop, answer, has)
    assert wants(shop, "next", PRICE) is None
    assert shop.ask(CheckLosses()) is not None
    shop.crash()
    assert wants(shop, "after", PRICE) is None
    assert shop.ask(CheckLosses()) is not None


def test_a_refusal_that_came_when_the_authorization_had_expired_is_nobodys_debt() -> None:
    shop = Shop(OWN)
    shop.commit("job", lives=SOLANA)
    shop.complete("job")
    shop.settle_down()
    shop.clock.advance(SOLANA)
    shop.facilitator_says(unclear(PAYER_PREVENTS), 0)
    let_expire(shop, "job")
    assert wants(shop, "next", PRICE) is None


def test_a_refusal_that_an_earlier_run_heard_is_not_forgotten() -> None:
    shop = Shop(REMOTE)
    shop.commit("job", lives=SOLANA)
    shop.complete("job")
    shop.settle_down()
    shop.facilitator_says(unclear(SOLANA_SAYS), 0)
    assert shop.state("job") is PaymentState.UNKNOWN
    shop.crash()
    let_expire(shop, "job")
    assert wants(shop, "next", 9 * PRICE) is IN_DEBT


def test_a_remote_facilitators_word_makes_no_debt_after_a_restart_either() -> None:
    shop = Shop(REMOTE)
    shop.commit("job", lives=SOLANA)
    shop.complete("job")
    shop.settle_down()
    shop.facilitator_says(unclear("transaction_failed"), PRICE)
    shop.crash()
    let_expire(shop, "job")
    assert wants(shop, "next", PRICE) is None


def test_a_payment_that_was_refused_once_and_settled_later_leaves_no_debt() -> None:
    shop = Shop(REMOTE)
    shop.commit("job", lives=SOLANA)
    shop.complete("job")
    shop.settle_down()
    shop.facilitator_says(unclear(SOLANA_SAYS), 0)
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    shop.facilitator_settles()
    shop.chain_says()
    assert shop.state("job") is PaymentState.SETTLED
    assert wants(shop, "next", PRICE) is None


def test_a_thief_whose_money_is_never_there_when_it_is_asked_for_gets_what_the_limit_allows() -> None:
    for answer in (Refused(MONAD_SAYS), unclear(SOLANA_SAYS)):
        shop = Shop(PaymentPolicy(max_unsettled=MicroUsd(3 * PRICE)))
        got = 0
        while wants(shop, f"job-{got}", 100 * PRICE, payer="alice") is not IN_DEBT:
            refused(shop, answer, 0, f"job-{got}")
            got += 1
            assert got <= 3
        assert got == 3


def test_who_lost_nothing_is_not_in_debt_however_low_the_limit_is() -> None:
    assert wants(Shop(PaymentPolicy(max_unsettled=MicroUsd(0))), "job", PRICE) is None


def test_a_restart_forgets_no_debt() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=MicroUsd(2 * PRICE)))
    lose(shop, "one")
    shop.crash()
    assert wants(shop, "next", PRICE) is FundsRefusal.BALANCE_TOO_LOW
    lose(shop, "two")
    shop.crash()
    assert wants(shop, "again", 10 * PRICE) is IN_DEBT


def test_money_that_came_after_all_pays_the_debt() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=PRICE))
    lose(shop, "job")
    assert wants(shop, "next", 10 * PRICE) is IN_DEBT
    shop.chain.carry_out(shop.payment("job"))
    shop.pass_time(HOUR + 180 * SECOND)
    shop.chain_says_of_a_void()
    assert wants(shop, "next", PRICE) is None
    shop.crash()
    assert wants(shop, "last", PRICE) is None


def test_a_job_that_failed_leaves_no_debt() -> None:
    shop = Shop()
    shop.commit("job")
    shop.fail("job")
    shop.settle_down()
    assert wants(shop, "next", PRICE) is None


def test_when_too_much_is_lost_within_a_day_nobody_pays_until_that_is_older() -> None:
    shop = Shop(PaymentPolicy(max_losses=MicroUsd(2 * PRICE)))
    began = shop.clock.unix_ms()
    lose(shop, "one")
    assert shop.ask(CheckLosses()) is None
    assert problem(shop) == ""
    shop.pass_time(HOUR)
    lose(shop, "two", payer="bob")
    assert shop.ask(CheckLosses()) == began + 24 * HOUR
    assert "--max-losses" in problem(shop)
    shop.crash()
    assert shop.ask(CheckLosses()) == began + 24 * HOUR
    assert "$0.02" in problem(shop)
    shop.pass_time(23 * HOUR)
    assert shop.ask(CheckLosses()) is None
    assert problem(shop) == ""


def test_a_loss_that_was_made_good_counts_no_more() -> None:
    shop = Shop(PaymentPolicy(max_losses=PRICE))
    lose(shop, "job")
    assert problem(shop) != ""
    shop.chain.carry_out(shop.payment("job"))
    shop.pass_time(HOUR + 180 * SECOND)
    shop.chain_says_of_a_void()
    assert shop.ask(CheckLosses()) is None
    assert problem(shop) == ""
