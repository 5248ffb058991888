"""What was given up is looked up on the chain once it has expired: somebody may have carried it out."""

from __future__ import annotations

import pytest

from compute_router.actors.messages.payment_gate import DrainPayments, OutcomeRead, SettleAnswered
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import LOSSES
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Refused, StillOpen
from tests.actors.payments import SECOND, SHARE, completed, problem, told
from tests.fakes.paying import PRICE, Shop

HOUR = 3_600 * SECOND
VOID, SETTLED, CREDITED = PaymentState.VOID, PaymentState.SETTLED, PaymentState.CREDITED


def refused(job_id: str = "job") -> Shop:
    """A shop whose facilitator refuses to settle, while the chain shows nothing yet."""
    shop = completed(job_id)
    shop.facilitator_says(Refused("insufficient_funds"))
    shop.chain_says()
    assert shop.state(job_id) is VOID
    return shop


def cancelled(job_id: str = "job") -> Shop:
    """A shop in which a paid job was cancelled before any settlement was asked for."""
    shop = Shop()
    shop.commit(job_id)
    shop.cancel(job_id)
    shop.settle_down()
    assert shop.state(job_id) is VOID
    return shop


def carried_out(shop: Shop, job_id: str = "job") -> None:
    """Whoever saw the authorization carries it out."""
    shop.chain.carry_out(shop.payment(job_id))


def test_nobody_is_asked_before_the_authorization_has_expired() -> None:
    shop = cancelled()
    shop.pass_time(HOUR)
    assert shop.executor.looks == []
    shop.pass_time(180 * SECOND)
    assert [payment.job_id for payment in shop.executor.looks] == ["job"]
    assert shop.executor.readings == []


def test_money_that_came_for_a_cancelled_job_is_a_credit() -> None:
    shop = cancelled()
    carried_out(shop)
    shop.pass_time(HOUR + 180 * SECOND)
    shop.chain_says_of_a_void()
    assert shop.state("job") is CREDITED
    assert (shop.paid(), shop.credit()) == (PRICE, PRICE)
    assert shop.payment("job").transaction_ref == "tx-pay-job"


def test_money_that_came_for_a_completed_job_undoes_the_loss_and_releases_the_result() -> None:
    shop = refused()
    assert shop.disk.balance(LOSSES) == -PRICE
    carried_out(shop)
    shop.pass_time(HOUR + 180 * SECOND)
    shop.chain_says_of_a_void()
    assert shop.state("job") is SETTLED
    assert (shop.paid(), shop.earned(), shop.disk.balance(LOSSES)) == (PRICE, SHARE, 0)
    view = shop.disk.job_view("job")
    assert view is not None
    assert view.payment is not None
    assert (view.status, view.payment.state) == (JobStatus.COMPLETED, SETTLED)
    assert view.payment.transaction_ref == "tx-pay-job"


@pytest.mark.parametrize("lost", [False, True])
def test_what_nobody_carried_out_is_looked_up_once(lost: bool) -> None:
    shop = refused() if lost else cancelled()
    shop.pass_time(HOUR + 180 * SECOND)
    shop.chain_says_of_a_void()
    assert shop.state("job") is VOID
    shop.pass_time(24 * HOUR)
    assert shop.executor.looks == []
    assert not shop.timers


def test_what_the_chain_itself_called_expired_is_not_looked_up_again() -> None:
    shop = completed(lives=60 * SECOND)
    shop.clock.advance(60 * SECOND)
    shop.facilitator_says(Refused("it is late"))
    shop.chain_says()
    assert told(shop) == [(JobStatus.COMPLETED, VOID)]
    shop.pass_time(HOUR)
    assert shop.executor.looks == []
    assert not shop.timers


def test_while_the_chain_cannot_be_read_it_is_asked_ever_more_seldom() -> None:
    shop = cancelled()
    carried_out(shop)
    shop.pass_time(HOUR + 180 * SECOND)
    looks = 0
    for _ in range(24 * 60):
        if shop.executor.looks:
            shop.chain_says_of_a_void(unreadable=True)
            looks += 1
        shop.pass_time(60 * SECOND)
    assert 24 <= looks <= 40
    assert problem(shop) == ""
    shop.pass_time(HOUR + 60 * SECOND)
    shop.chain_says_of_a_void()
    assert shop.state("job") is CREDITED


@pytest.mark.parametrize("lost", [False, True])
def test_a_restart_does_not_forget_what_is_still_to_be_looked_up(lost: bool) -> None:
    shop = refused() if lost else cancelled()
    carried_out(shop)
    shop.crash()
    shop.pass_time(HOUR + 180 * SECOND)
    assert len(shop.executor.looks) == 1
    # And it dies again before the chain has answered.
    shop.crash()
    shop.settle_down()
    shop.chain_says_of_a_void()
    assert shop.state("job") is (SETTLED if lost else CREDITED)


def test_many_are_looked_up_a_few_at_a_time() -> None:
    shop = Shop()
    for number in range(50):
        shop.commit(f"job-{number}")
        shop.cancel(f"job-{number}")
    shop.settle_down()
    carried_out(shop, "job-49")
    shop.pass_time(HOUR + 180 * SECOND)
    looked = 0
    while shop.executor.looks:
        assert len(shop.executor.looks) <= shop.policy.looks_at_once
        shop.chain_says_of_a_void()
        looked += 1
    assert looked == 50
    assert shop.state("job-49") is CREDITED


def test_a_job_that_is_completed_after_its_payment_was_given_up_is_paid_for_after_all() -> None:
    shop = Shop()
    shop.commit("job", lives=45 * SECOND)
    shop.pass_time(31 * SECOND)
    shop.tell(SettleAnswered("pay-job", Refused("not now")))
    shop.tell(OutcomeRead("pay-job", StillOpen()))
    shop.serve_store()
    # The worker is done before the Matcher hears that nobody pays.
    shop.complete("job")
    shop.settle_down()
    assert shop.disk.balance(LOSSES) == -PRICE
    carried_out(shop)
    shop.pass_time(300 * SECOND)
    shop.chain_says_of_a_void()
    assert shop.state("job") is SETTLED
    assert (shop.paid(), shop.earned(), shop.disk.balance(LOSSES)) == (PRICE, SHARE, 0)


def test_a_drain_waits_for_none_of_it() -> None:
    shop = cancelled()
    shop.pass_time(HOUR + 180 * SECOND)
    assert shop.executor.looks
    drained: list[bool] = []
    shop.tell(DrainPayments(lambda: drained.append(True)))
    assert drained == [True]
