"""While the facilitator is down nothing is asked of it, and nothing is lost."""

from __future__ import annotations

from compute_router.actors.messages.payment_gate import SettleAnswered
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Unknown
from tests.actors.payments import SECOND, SOLANA, problem
from tests.fakes.paying import Shop


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


def test_a_clear_answer_that_leaves_a_payment_open_is_no_silence_however_often_it_comes() -> None:
    shop = Shop()
    shop.commit("job")
    shop.complete("job")
    shop.settle_down()
    for _ in range(20):
        shop.facilitator_says(Unknown("transaction_failed", "transaction_failed"))
        assert problem(shop) == ""
        while not shop.executor.settlements:
            shop.pass_time(SECOND)
            while shop.executor.readings:
                shop.chain_says()


def test_a_clear_answer_about_one_payment_wakes_those_that_waited() -> None:
    shop = down()
    shop.commit("job")
    shop.complete("job")
    shop.settle_down()
    shop.tell(SettleAnswered("pay-old-0", Unknown("settlement_pending", "settlement_pending")))
    shop.settle_down()
    assert problem(shop) == ""
    assert "pay-job" in [payment.payment_id for payment in shop.executor.settlements]


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
