"""What one payer may owe."""

from __future__ import annotations

from compute_router.actors.messages.payment_gate import (
    ClaimPayment,
    DropFunds,
    FundsMark,
    FundsRefusal,
    HoldFunds,
)
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.units import MicroUsd
from tests.fakes.paying import PRICE, Shop

CLAIMED = FundsRefusal.CLAIMED
LOW = FundsRefusal.BALANCE_TOO_LOW


def claim(
    shop: Shop,
    job_id: str,
    amount: int = 10,
    *,
    payer: str = "alice",
    pays: str = "",
    commit: str = "",
) -> int | FundsRefusal:
    wish = ClaimPayment(job_id, f"pay-{pays or job_id}", payer, MicroUsd(amount), commit or job_id)
    answer: int | FundsRefusal = shop.ask(wish)
    return answer


def hold(shop: Shop, job_id: str, balance: int | None, mark: int | None = None) -> FundsRefusal | None:
    read_after = shop.ask(FundsMark()) if mark is None else mark
    answer: FundsRefusal | None = shop.ask(
        HoldFunds(job_id, None if balance is None else MicroUsd(balance), read_after)
    )
    return answer


def both(shop: Shop, job_id: str, amount: int, balance: int | None, payer: str = "alice") -> object:
    mark = claim(shop, job_id, amount, payer=payer)
    assert isinstance(mark, int)
    return hold(shop, job_id, balance, mark)


def test_two_commits_at_once_cannot_promise_the_same_balance() -> None:
    shop = Shop()
    assert both(shop, "one", 10, 15) is None
    assert both(shop, "two", 10, 15) is LOW
    assert both(shop, "three", 10, 15, payer="bob") is None
    shop.tell(DropFunds("one"))
    assert hold(shop, "two", 15) is None


def test_what_is_not_found_good_yet_holds_nobodys_funds() -> None:
    shop = Shop()
    for number in range(9):
        assert isinstance(claim(shop, f"forged-{number}", 10), int)
    assert both(shop, "good", 10, 10) is None


def test_reserved_payments_count_until_they_are_decided() -> None:
    shop = Shop()
    assert both(shop, "job", PRICE, PRICE) is None
    shop.commit("job")
    assert both(shop, "next", PRICE, PRICE) is LOW
    shop.complete("job")
    shop.settle_down()
    shop.facilitator_settles()
    assert hold(shop, "next", PRICE) is LOW
    shop.chain_says()
    assert hold(shop, "next", PRICE) is None


def test_after_a_crash_open_payments_still_count() -> None:
    shop = Shop()
    shop.commit("job")
    shop.crash()
    assert both(shop, "next", 1, PRICE) is LOW


def test_a_payment_is_for_the_commit_that_came_with_it_first() -> None:
    shop = Shop()
    assert isinstance(claim(shop, "job", commit="the seeker's key"), int)
    assert claim(shop, "thief", pays="job") is CLAIMED
    assert claim(shop, "thief", pays="job", commit="the thief's key") is CLAIMED
    shop.tell(DropFunds("thief"))
    assert isinstance(claim(shop, "again", pays="job", commit="the seeker's key"), int)
    shop.tell(DropFunds("job"))
    assert claim(shop, "thief", pays="job") is CLAIMED
    shop.tell(DropFunds("again"))
    # Whoever was asked about it may have said no to have it for himself.
    assert claim(shop, "thief", pays="job") is CLAIMED
    assert isinstance(claim(shop, "last", pays="job", commit="the seeker's key"), int)


def test_a_payment_that_comes_twice_is_held_once_until_the_last_commit_with_it_is_over() -> None:
    shop = Shop()
    for job_id in ("one", "two"):
        claim(shop, job_id, 10, pays="x", commit="key")
        assert hold(shop, job_id, 10) is None
    shop.tell(DropFunds("one"))
    assert both(shop, "next", 10, 10) is LOW
    shop.tell(DropFunds("two"))
    assert hold(shop, "next", 10) is None


def test_a_payment_that_was_stored_counts_as_that_and_no_more_as_held() -> None:
    shop = Shop()
    for job_id in ("job", "again"):
        claim(shop, job_id, PRICE, pays="job", commit="key")
        assert hold(shop, job_id, 2 * PRICE) is None
    shop.commit("job")
    assert both(shop, "next", PRICE, 2 * PRICE) is None
    shop.tell(DropFunds("again"))
    shop.tell(DropFunds("next"))
    assert both(shop, "last", PRICE + 1, 2 * PRICE) is LOW


def test_a_payment_that_is_shown_again_is_for_the_store_to_refuse() -> None:
    shop = Shop()
    shop.commit("job")
    assert isinstance(claim(shop, "again", PRICE, pays="job"), int)
    assert hold(shop, "again", PRICE) is None
    shop.tell(DropFunds("again"))
    assert both(shop, "next", 1, PRICE) is LOW


def test_while_the_chain_cannot_be_read_a_payer_may_owe_only_so_much() -> None:
    shop = Shop(PaymentPolicy(max_unsettled=MicroUsd(100)))
    assert both(shop, "one", 60, None) is None
    assert both(shop, "two", 60, None) is FundsRefusal.TOO_MUCH_UNSETTLED
    assert hold(shop, "two", 1_000) is None


def test_a_balance_from_before_a_settlement_is_read_again() -> None:
    shop = Shop()
    shop.commit("job")
    mark = claim(shop, "next", PRICE)
    assert isinstance(mark, int)
    shop.complete("job")
    shop.settle_down()
    shop.facilitator_settles()
    shop.chain_says()
    # What was read before still has the money that went.
    assert hold(shop, "next", PRICE, mark) is FundsRefusal.BALANCE_IS_OLD
    assert hold(shop, "next", 0) is LOW
    assert hold(shop, "next", PRICE) is None


def test_a_payment_that_was_let_go_makes_no_balance_old() -> None:
    shop = Shop()
    shop.commit("job")
    mark = claim(shop, "next", PRICE)
    assert isinstance(mark, int)
    shop.fail("job")
    shop.settle_down()
    assert hold(shop, "next", PRICE, mark) is None
