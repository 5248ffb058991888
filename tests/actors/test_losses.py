"""Who did not pay for a completed job owes it; and when too much is lost, nobody is asked to pay any more."""

from __future__ import annotations

from compute_router.actors.messages.payment_gate import (
    CheckLosses,
    ClaimPayment,
    FundsMark,
    FundsRefusal,
    HoldFunds,
)
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Refused, Unknown
from compute_router.protocol.units import MicroUsd
from tests.actors.payments import SECOND, problem
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
