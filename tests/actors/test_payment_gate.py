"""The actor that decides about payment."""

from __future__ import annotations

import pytest

from compute_router.actors.messages.edge import Progress
from compute_router.actors.messages.matcher import Sweep
from compute_router.actors.messages.payment_gate import Admit
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.payment_state import PaymentState
from compute_router.storage.interface import JobView
from tests.actors.samples import NOON
from tests.fakes.paying import Shop, SteppedGate
from tests.fakes.stepped import mailbox


def ask(message: object) -> object:
    ref = SteppedGate.start(pytest.fail)
    answer = ref.ask(message, block=False)
    mailbox(ref).step()
    return answer.get()


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("job_type", list(JobType))
def test_with_payments_off_every_job_is_let_in(tier: Tier, job_type: JobType) -> None:
    assert ask(Admit(tier, job_type)) is None


def test_an_unknown_message_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="Sweep"):
        ask(Sweep())
    with pytest.raises(TypeError, match="Sweep"):
        Shop().ask(Sweep())


def test_steps_of_jobs_pass_and_the_end_of_a_free_one_is_told_at_once() -> None:
    shop = Shop()
    step = Progress("job", JobStatus.RUNNING, 1)
    view = JobView(
        job_id="job",
        user_id="alice",
        status=JobStatus.COMPLETED,
        result=b"{}",
        created_at=NOON,
        completed_at=NOON,
    )
    shop.watchers.progress(step)
    assert shop.told.steps == [step]
    shop.ends.append(view)
    shop.deliver_end()
    assert shop.told.views == [view]


def test_a_gate_that_stops_gives_up_its_questions() -> None:
    shop = Shop()
    shop.gate.stop(block=False)
    mailbox(shop.gate).run()
    assert shop.executor.closed


def test_the_store_is_given_a_few_steps_at_a_time_and_all_of_them_in_the_end() -> None:
    shop = Shop(PaymentPolicy(steps_at_once=3))
    jobs = [f"job-{number}" for number in range(10)]
    for job in jobs:
        shop.commit(job)
        shop.complete(job)
    most = 0
    while shop.ends:
        shop.deliver_end()
        most = max(most, len(shop.requests))
    assert most == 3
    shop.settle_down()
    for _ in jobs:
        shop.facilitator_settles()
        shop.chain_says()
    shop.settle_down()
    assert {shop.state(job) for job in jobs} == {PaymentState.SETTLED}
