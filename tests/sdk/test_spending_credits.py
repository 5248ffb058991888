"""Credits of failed jobs are kept, spent before the wallet is, and never twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_router.protocol.networks import Chain
from compute_router.sdk import (
    JobFailedError,
    JobTimeoutError,
    PaymentPlan,
    PaymentRefusedError,
    SpendingCapError,
    SpendingCaps,
    TaskJob,
    Wallet,
)
from compute_router.sdk.purse_file import PurseFile
from tests.fakes.http_coordinator import JOB_ID, RUNNING, job_answer
from tests.fakes.till import OTHER_TOKEN, PRICE, TOKEN, failed_paid, paid_answer
from tests.sdk.clients import blocking
from tests.sdk.paying import classify, sent, shop


def test_a_credit_of_a_failed_job_is_kept_and_spent_first(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError, match="became a credit") as caught:
            classify(router)
        assert caught.value.payment is not None
        assert TOKEN not in repr(caught.value.payment)
        assert router.credits() == [PRICE]
        assert purse.path.stat().st_mode & 0o777 == 0o600
        coordinator.about_job = done
        classify(router)
        assert (router.spent, router.credits()) == (PRICE, [])
    assert sent(coordinator) == ["nothing", "payment", "nothing", "credit"]


def test_a_credit_is_spent_by_another_program_and_without_a_wallet(purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: 5 * PRICE})
    purse.keep_credit(TOKEN, 5 * PRICE)  # type: ignore[arg-type]
    with blocking(coordinator) as router:
        classify(router)
        assert router.credits() == [4 * PRICE]
        assert router.spent == 0


def test_a_credit_that_is_seen_again_is_not_counted_again(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
        router.job(JOB_ID)
        assert router.credits() == []


def test_a_credit_that_another_program_spent_gives_way_to_the_next_and_then_to_the_wallet(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, till = shop(credits={})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    purse.keep_credit(OTHER_TOKEN, 2 * PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        assert router.credits() == [PRICE - 1, PRICE - 1]
    assert sent(coordinator) == ["nothing", "credit", "credit", "payment"]
    assert till.signatures == 1


def test_a_credit_whose_answer_was_lost_is_sent_again_and_nothing_else(evm: Wallet, purse: PurseFile) -> None:
    coordinator, till = shop(credits={TOKEN: PRICE})
    coordinator.loses_first_answers = True
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
    assert sent(coordinator) == ["nothing", "credit", "credit"]
    assert (till.payments, len(coordinator.taken)) == ([], 1)


def test_a_credit_is_money_to_the_hook_and_to_the_cap_of_a_job(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    plans: list[PaymentPlan] = []

    def refuse(plan: PaymentPlan) -> bool:
        plans.append(plan)
        return False

    with blocking(coordinator, before_payment=refuse) as router, pytest.raises(PaymentRefusedError):
        classify(router)
    assert [plan.by_credit for plan in plans] == [True]
    with blocking(coordinator, spending=SpendingCaps(per_job=1)) as router, pytest.raises(SpendingCapError):
        classify(router)
    assert sent(coordinator) == ["nothing", "nothing"]


def test_a_job_that_failed_before_its_payment_was_decided_is_looked_at_before_the_next(evm: Wallet) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("settling", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError, match="not decided"):
            classify(router)
        assert router.credits() == []
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN), *done]
        classify(router)
        assert router.spent == PRICE
    assert sent(coordinator)[-1] == "credit"


def test_a_job_that_nobody_waited_for_is_looked_at_before_the_next(evm: Wallet) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [paid_answer(RUNNING, "reserved", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobTimeoutError):
            classify(router, timeout_s=1.0)
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN), *done]
        classify(router)
    assert sent(coordinator)[-1] == "credit"


def test_a_job_that_is_cancelled_late_keeps_its_credit(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [paid_answer(RUNNING, "settled", chain=Chain.MONAD)]
    cancelled = job_answer("cancelled", b'{"error":"cancelled"}')
    coordinator.cancel = paid_answer(cancelled, "credited", chain=Chain.MONAD, token=TOKEN)
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobTimeoutError):
            classify(router, timeout_s=1.0, cancel_on_timeout=True)
        assert router.credits() == [PRICE]


def test_a_void_payment_leaves_nothing_to_look_for(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobFailedError) as caught:
        classify(router)
    assert "credit" not in str(caught.value)
    assert (purse.credits(), purse.awaited()) == ([], [])


@pytest.mark.parametrize("token", ["crc_short", "crc_" + "A" * 43 + "\r\nX: y", ""])
def test_a_token_that_is_none_is_not_kept(
    evm: Wallet, purse: PurseFile, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=token)]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobFailedError):
        classify(router)
    assert purse.credits() == []


def test_a_purse_that_cannot_be_written_hides_no_result(
    evm: Wallet, purse: PurseFile, caplog: pytest.LogCaptureFixture, trust_path: Path
) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        job_id = router.submit(TaskJob("classify", "x"))
        trust_path.parent.mkdir(exist_ok=True)
        purse.path.mkdir()
        with pytest.raises(JobFailedError):
            router.result(job_id)
    assert "purse" in caplog.text
    assert TOKEN not in caplog.text
