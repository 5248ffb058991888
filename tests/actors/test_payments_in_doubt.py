"""Answers that are lost and answers that are false: the chain decides."""

from __future__ import annotations

import msgspec
import pytest

from compute_router.actors.messages.payment_gate import OutcomeRead, SettleAnswered
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import NotSettled, Refused, Settled, StillOpen, Unknown
from tests.actors.payments import SECOND, SOLANA, completed, problem, told
from tests.fakes.paying import PRICE, Shop


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
    assert not [name for name in shop.timers if name.startswith("payment")]


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


def test_a_settlement_is_believed_when_the_chain_shows_it_however_long_it_cannot_be_read() -> None:
    shop = completed()
    shop.facilitator_settles()
    for _ in range(20):
        shop.chain_says(unreadable=True)
        assert shop.state("job") is PaymentState.UNKNOWN
        assert "cannot be read" in (shop.payment("job").reason or "")
        assert told(shop) == []
        shop.pass_time(61 * SECOND)
        assert shop.executor.settlements == []
    assert "cannot be read" in problem(shop)
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert problem(shop) == ""


def test_a_claimed_settlement_that_the_chain_shows_at_last_is_not_there_is_void() -> None:
    shop = completed(lives=60 * SECOND)
    shop.facilitator_says(Settled("a lie"))
    shop.chain_says(unreadable=True)
    shop.pass_time(90 * SECOND)
    while shop.executor.readings:
        shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.VOID)]


def test_a_refusal_that_comes_after_the_answer_lets_nothing_go() -> None:
    shop = completed()
    on_its_way = shop.facilitator_says(Settled("tx-pay-job"))
    shop.tell(SettleAnswered("pay-job", Refused("after all")))
    shop.chain_says()
    assert (shop.state("job"), shop.executor.readings) == (PaymentState.UNKNOWN, [])
    shop.chain.carry_out(on_its_way)
    shop.pass_time(2 * SECOND)
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]


def test_a_named_settlement_is_looked_for_where_it_was_named() -> None:
    shop = completed()
    shop.facilitator_says(Settled("tx-pay-job"))
    assert [payment.transaction_ref for payment in shop.executor.readings] == ["tx-pay-job"]
    shop.chain_says()
    shop.pass_time(2 * SECOND)
    assert [payment.transaction_ref for payment in shop.executor.readings] == ["tx-pay-job"]


def test_a_second_answer_to_the_same_question_changes_nothing() -> None:
    shop = completed()
    shop.facilitator_settles()
    shop.tell(SettleAnswered("pay-job", Refused("after all")))
    shop.chain_says()
    shop.tell(SettleAnswered("pay-job", Refused("after all")))
    assert told(shop) == [(JobStatus.COMPLETED, PaymentState.SETTLED)]
    assert shop.state("job") is PaymentState.SETTLED
