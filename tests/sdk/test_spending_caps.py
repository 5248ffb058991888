"""What a client may spend, on one job and in all, and who is asked before."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.networks import Chain
from compute_router.sdk import PaymentPlan, PaymentRefusedError, SpendingCapError, SpendingCaps, Wallet
from tests.fakes.till import PAY_TO, PRICE
from tests.sdk.clients import blocking
from tests.sdk.paying import classify, sent, shop


def test_a_job_dearer_than_one_may_be_is_not_paid(evm: Wallet) -> None:
    coordinator, _ = shop()
    caps = SpendingCaps(per_job=PRICE - 1)
    with blocking(coordinator, wallet=evm, spending=caps) as router:
        with pytest.raises(SpendingCapError) as caught:
            classify(router)
        assert (caught.value.price, caught.value.cap, router.spent) == (PRICE, PRICE - 1, 0)
    assert sent(coordinator) == ["nothing"]


def test_a_client_signs_for_no_more_than_its_session_may(evm: Wallet) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm, spending=SpendingCaps(per_session=2 * PRICE)) as router:
        classify(router)
        classify(router)
        with pytest.raises(SpendingCapError, match=r"\$0.002"):
            classify(router)
        assert router.spent == 2 * PRICE
    assert till.signatures == 2


def test_threads_together_sign_for_no_more_than_the_session_may(evm: Wallet) -> None:
    coordinator, till = shop()
    outcomes: list[str] = []
    with blocking(coordinator, wallet=evm, spending=SpendingCaps(per_session=3 * PRICE)) as router:

        def run() -> None:
            try:
                classify(router)
                outcomes.append("paid")
            except SpendingCapError:
                outcomes.append("refused")

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["paid"] * 3 + ["refused"] * 5
    assert till.signatures == 3


def test_the_default_caps_are_small() -> None:
    assert SpendingCaps() == SpendingCaps(per_job=50_000, per_session=1_000_000)


@pytest.mark.parametrize("cap", [-1, 0.05, "0.05", True, None])
def test_a_cap_is_a_whole_number_of_micro_usd(cap: Any) -> None:
    with pytest.raises(ComputeRouterError, match="micro-USD"):
        SpendingCaps(per_job=cap)


def test_the_hook_sees_the_payment_and_may_agree(evm: Wallet) -> None:
    coordinator, _ = shop()
    plans: list[PaymentPlan] = []

    def agree(plan: PaymentPlan) -> bool:
        plans.append(plan)
        return True

    with blocking(coordinator, wallet=evm, before_payment=agree) as router:
        classify(router)
    (plan,) = plans
    assert (plan.amount, plan.pay_to, plan.network) == (PRICE, PAY_TO[Chain.MONAD], "eip155:10143")
    assert (plan.by_credit, plan.spent, plan.job_type.value) == (False, 0, "TASK")


@pytest.mark.parametrize("said", [False, None, 0, "yes"])
def test_only_true_is_a_yes(evm: Wallet, said: Any) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm, before_payment=lambda plan: said) as router:
        with pytest.raises(PaymentRefusedError) as caught:
            classify(router)
        assert (caught.value.reason, router.spent) == ("declined", 0)
    assert (sent(coordinator), till.payments) == (["nothing"], [])


def test_an_error_of_the_hook_comes_through_and_nothing_is_paid(evm: Wallet) -> None:
    coordinator, _ = shop()

    def fail(plan: PaymentPlan) -> bool:
        raise LookupError("no budget")

    with blocking(coordinator, wallet=evm, before_payment=fail) as router:
        with pytest.raises(LookupError):
            classify(router)
        assert router.spent == 0
