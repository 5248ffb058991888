from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.ledger import (
    FEES,
    HELD,
    LOSSES,
    RECEIVABLE,
    Consequence,
    Journal,
    after_completion,
    after_failure,
    after_payout,
    after_reservation,
    after_step,
    fee_of,
)
from compute_router.protocol.payment_state import PAYMENT_TRANSITIONS, PaymentEvent, PaymentState
from compute_router.protocol.payments import PaymentView, Payout
from compute_router.protocol.units import MicroUsd, UnixMs
from tests.storage.money_samples import PAYER, a_payment, by_credit

WORKER = "w" * 64
CREDITED = f"credit:{PAYER}"
PAID = f"payer:{PAYER}"
EARNED = f"worker:{WORKER}"

AMOUNTS = st.integers(1, 10**12).map(MicroUsd)
BPS = st.integers(0, 10_000)


def seen(state: PaymentState, amount: int = 10_000, fee: int = 500) -> PaymentView:
    return PaymentView(
        payment_id="pay-1",
        job_id="job-1",
        payer=PAYER,
        network="eip155:10143",
        amount=MicroUsd(amount),
        fee=MicroUsd(fee),
        state=state,
    )


def amounts(*journals: Journal) -> dict[str, int]:
    """What the journals do to the accounts together."""
    total: dict[str, int] = {}
    for journal in journals:
        for entry in journal.entries:
            total[entry.account] = total.get(entry.account, 0) + entry.amount
    return {account: amount for account, amount in total.items() if amount}


def names(consequence: Consequence) -> list[str]:
    return [journal.name for journal in consequence.journals]


@given(AMOUNTS, BPS)
def test_a_fee_is_a_share_rounded_down(amount: MicroUsd, fee_bps: int) -> None:
    fee = fee_of(amount, fee_bps)
    assert 0 <= fee <= amount
    assert fee * 10_000 <= amount * fee_bps < (fee + 1) * 10_000


@pytest.mark.parametrize("fee_bps", [-1, 10_001])
def test_a_fee_is_between_nothing_and_all(fee_bps: int) -> None:
    with pytest.raises(ValueError, match="basis points"):
        fee_of(MicroUsd(10_000), fee_bps)


def test_a_completion_credits_worker_and_operator_and_waits_for_the_money() -> None:
    (journal,) = after_completion(seen(PaymentState.RESERVED), WORKER)
    assert journal.name == "completion:pay-1"
    assert amounts(journal) == {EARNED: 9_500, FEES: 500, RECEIVABLE: -10_000}


def test_a_settlement_after_the_completion_takes_the_money_from_the_payer() -> None:
    consequence = after_step(seen(PaymentState.SETTLING), PaymentEvent.CONFIRM, JobStatus.COMPLETED)
    assert names(consequence) == ["settlement:pay-1"]
    assert amounts(*consequence.journals) == {RECEIVABLE: 10_000, PAID: -10_000}
    assert consequence.steps == ()


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (PaymentState.SETTLING, PaymentEvent.REFUSE),
        (PaymentState.UNKNOWN, PaymentEvent.REFUSE),
        (PaymentState.RESERVED, PaymentEvent.RELEASE),
    ],
)
def test_a_payment_that_is_void_after_the_completion_is_the_operators_loss(
    state: PaymentState, event: PaymentEvent
) -> None:
    consequence = after_step(seen(state), event, JobStatus.COMPLETED)
    assert names(consequence) == ["loss:pay-1"]
    assert amounts(*consequence.journals) == {RECEIVABLE: 10_000, LOSSES: -10_000}


def test_a_worker_is_credited_although_the_early_settlement_was_refused() -> None:
    journals = after_completion(seen(PaymentState.VOID), WORKER)
    assert [journal.name for journal in journals] == ["completion:pay-1", "loss:pay-1"]
    assert amounts(*journals) == {EARNED: 9_500, FEES: 500, LOSSES: -10_000}


def test_money_that_comes_early_is_held_until_the_completion() -> None:
    early = after_step(seen(PaymentState.SETTLING), PaymentEvent.CONFIRM, JobStatus.RUNNING)
    assert amounts(*early.journals) == {HELD: 10_000, PAID: -10_000}
    delivered = after_completion(seen(PaymentState.SETTLED), WORKER)
    assert amounts(*early.journals, *delivered) == {EARNED: 9_500, FEES: 500, PAID: -10_000}


def test_money_that_came_early_for_a_job_that_fails_becomes_a_credit() -> None:
    failure = after_failure(seen(PaymentState.SETTLED))
    assert failure.steps == (PaymentEvent.CREDIT,)
    assert amounts(*failure.journals) == {HELD: -10_000, CREDITED: 10_000}


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_money_that_comes_for_a_job_that_has_failed_becomes_a_credit(status: JobStatus) -> None:
    late = after_step(seen(PaymentState.UNKNOWN), PaymentEvent.CONFIRM, status)
    assert late.steps == (PaymentEvent.CREDIT,)
    assert names(late) == ["early:pay-1", "credit:pay-1"]
    assert amounts(*late.journals) == {PAID: -10_000, CREDITED: 10_000}


def test_what_was_not_asked_for_when_the_job_fails_never_will_be() -> None:
    assert after_failure(seen(PaymentState.RESERVED)) == Consequence((PaymentEvent.RELEASE,))


@pytest.mark.parametrize("state", [PaymentState.SETTLING, PaymentState.UNKNOWN, PaymentState.VOID])
def test_a_failure_waits_for_what_was_asked_already(state: PaymentState) -> None:
    assert after_failure(seen(state)) == Consequence()


def test_a_spent_credit_is_held_from_the_commit_on() -> None:
    assert after_reservation(a_payment()) == ()
    (journal,) = after_reservation(by_credit("job-1"))
    assert journal.name == "spending:credit/job-1"
    assert amounts(journal) == {CREDITED: -10_000, HELD: 10_000}


def test_a_payout_takes_from_what_the_worker_is_owed() -> None:
    payout = Payout(payout_id="out-1", pubkey=WORKER, address="0x1", amount=MicroUsd(7), created_at=UnixMs(0))
    journal = after_payout(payout)
    assert journal.name == "payout:out-1"
    assert amounts(journal) == {EARNED: -7, f"payout:{WORKER}": 7}


def test_accounts_that_get_nothing_have_no_entry() -> None:
    (free_of_fee,) = after_completion(seen(PaymentState.RESERVED, fee=0), WORKER)
    assert amounts(free_of_fee) == {EARNED: 10_000, RECEIVABLE: -10_000}
    assert len(free_of_fee.entries) == 2


# Any life of a payment and its job. The steps of both are drawn until none is left.


@given(AMOUNTS, BPS, st.data())
def test_whatever_happens_the_ledger_is_zero_and_nobody_loses_money(
    amount: MicroUsd, fee_bps: int, data: st.DataObject
) -> None:
    payment = seen(PaymentState.RESERVED, amount, fee_of(amount, fee_bps))
    status = JobStatus.PENDING
    journals: list[Journal] = []

    def at(state: PaymentState) -> PaymentView:
        return seen(state, payment.amount, payment.fee)

    while True:
        possible: list[PaymentEvent | JobStatus] = [
            event
            for state, event in PAYMENT_TRANSITIONS
            if state is payment.state and event not in (PaymentEvent.CREDIT, PaymentEvent.RELEASE)
        ]
        possible += [] if status in FINAL else [JobStatus.COMPLETED, JobStatus.FAILED]
        if not possible:
            break
        chosen = data.draw(st.sampled_from(possible))
        if isinstance(chosen, PaymentEvent):
            consequence = after_step(payment, chosen, status)
            payment = at(PAYMENT_TRANSITIONS[payment.state, chosen])
        else:
            status = chosen
            consequence = (
                Consequence((), after_completion(payment, WORKER))
                if status is JobStatus.COMPLETED
                else after_failure(payment)
            )
        journals += consequence.journals
        for step in consequence.steps:
            payment = at(PAYMENT_TRANSITIONS[payment.state, step])

    assert all(sum(entry.amount for entry in journal.entries) == 0 for journal in journals)
    assert len({journal.name for journal in journals}) == len(journals)
    total = amounts(*journals)
    assert HELD not in total
    assert RECEIVABLE not in total
    completed = status is JobStatus.COMPLETED
    charged = -total.get(PAID, 0)
    assert total.get(EARNED, 0) + total.get(FEES, 0) == (amount if completed else 0)
    assert charged == (amount if payment.state in (PaymentState.SETTLED, PaymentState.CREDITED) else 0)
    assert total.get(CREDITED, 0) == (charged if not completed else 0)
    assert -total.get(LOSSES, 0) == (amount if completed and not charged else 0)
