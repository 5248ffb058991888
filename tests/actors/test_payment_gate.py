"""The actor that decides about payment."""

from __future__ import annotations

import pytest

from compute_router.actors.messages import Admit, Sweep
from compute_router.actors.payment_gate import PaymentGate, PaymentMode
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.jobs import JobType, Tier
from tests.fakes.stepped import Stepped, mailbox


class SteppedGate(Stepped, PaymentGate):
    pass


def ask(message: object) -> object:
    ref = SteppedGate.start(pytest.fail, PaymentMode.OFF)
    answer = ref.ask(message, block=False)
    mailbox(ref).step()
    return answer.get()


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("job_type", list(JobType))
def test_with_payments_off_every_job_is_let_in(tier: Tier, job_type: JobType) -> None:
    assert ask(Admit(tier, job_type)) is None


def test_asked_for_payments_it_refuses_to_start() -> None:
    with pytest.raises(ConfigurationError, match="payments off"):
        SteppedGate.start(pytest.fail, PaymentMode.ON)


def test_an_unknown_message_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="Sweep"):
        ask(Sweep())
