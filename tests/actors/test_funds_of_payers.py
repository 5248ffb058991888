"""What one payer may owe."""

from __future__ import annotations

from compute_router.actors.messages.payment_gate import DropFunds, FundsRefusal, HoldFunds
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.units import MicroUsd
from tests.fakes.paying import PRICE, Shop


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
