"""A paid job that is late: nobody pays for what nobody gets, and the seeker knows what may still be paid."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.sdk import (
    ComputeRouter,
    JobFailedError,
    JobTimeoutError,
    LlmResult,
    SubmissionUnknownError,
    Wallet,
)
from compute_router.sdk.purse_file import PurseFile
from tests.fakes.http_coordinator import (
    JOB_ID,
    RUNNING,
    FakeCoordinator,
    completed,
    job_answer,
    refused,
)
from tests.fakes.till import PRICE, TOKEN, FakeTill, failed_paid, paid_answer
from tests.sdk.clients import FALLBACK, blocking
from tests.sdk.paying import BROKEN

COMPLETION = (200, b'{"model":"hosted-1","choices":[{"message":{"role":"assistant","content":"Hi."}}]}')
DONE = paid_answer(completed(b'{"text":"Hello.","model":"m"}'), chain=Chain.MONAD)
LATE = paid_answer(RUNNING, "reserved", chain=Chain.MONAD)
CANCELLED = job_answer("cancelled", b'{"error":"cancelled"}')
IN_PROGRESS = refused(409, "payment_in_progress", message="It is being paid for.")
FINISHED = refused(409, "job_finished", message="It has ended.")


def shop(*about_job: Any, **options: Any) -> FakeCoordinator:
    """A coordinator that is paid for inference, and a provider to fall back to."""
    till = FakeTill(Chain.MONAD, price=PRICE)
    options.setdefault("cancel", paid_answer(CANCELLED, "void", chain=Chain.MONAD))
    return FakeCoordinator(
        about_job=list(about_job), chain=Chain.MONAD, till=till, fallback=COMPLETION, **options
    )


def generate(router: ComputeRouter, **options: Any) -> LlmResult:
    return router.run_llm("hello", timeout_s=2.0, **options)


def test_a_late_job_is_cancelled_before_the_fallback_is_asked(evm: Wallet) -> None:
    coordinator = shop(LATE)
    with blocking(coordinator, wallet=evm, fallback=FALLBACK) as router:
        result = generate(router)
    assert (result.source, result.text) == ("fallback", "Hi.")
    methods = [(each.method, each.host) for each in coordinator.asked]
    assert methods.index(("DELETE", "coordinator.example")) < len(methods) - 1
    assert methods[-1] == ("POST", FALLBACK.base_url.split("/")[2])
    assert isinstance(result.network_error, JobTimeoutError)
    assert result.network_error.cancelled
    assert (result.network_error.job_id, result.payment) == (JOB_ID, None)


def test_a_job_that_ends_while_it_is_being_cancelled_is_the_answer_and_no_fallback_is_asked(
    evm: Wallet,
) -> None:
    coordinator = shop(LATE, DONE, cancel=FINISHED)
    with blocking(coordinator, wallet=evm, fallback=FALLBACK) as router:
        result = generate(router)
    assert (result.source, result.text) == ("network", "Hello.")
    assert coordinator.fallback_asked == []


def test_a_job_that_is_being_paid_for_already_is_waited_for_once_more(evm: Wallet) -> None:
    coordinator = shop(LATE, DONE, cancel=IN_PROGRESS)
    with blocking(coordinator, wallet=evm, fallback=FALLBACK) as router:
        result = generate(router)
    assert (result.source, result.text) == ("network", "Hello.")
    assert result.payment is not None
    assert result.payment.state is PaymentState.SETTLED
    assert coordinator.fallback_asked == []


def test_one_whose_payment_takes_longer_is_told_beside_the_answer_of_the_fallback(evm: Wallet) -> None:
    coordinator = shop(LATE, cancel=IN_PROGRESS)
    with blocking(coordinator, wallet=evm, fallback=FALLBACK) as router:
        result = generate(router)
    assert result.source == "fallback"
    assert isinstance(result.network_error, JobTimeoutError)
    assert not result.network_error.cancelled
    assert "being paid for" in str(result.network_error)


def test_a_commit_whose_end_is_unknown_is_told_with_its_key(evm: Wallet) -> None:
    coordinator = shop(LATE, commit=[None, BROKEN])
    with blocking(coordinator, wallet=evm, fallback=FALLBACK) as router:
        result = generate(router)
        assert router.spent == PRICE
    assert isinstance(result.network_error, SubmissionUnknownError)
    assert result.network_error.idempotency_key is not None


def test_a_failed_job_that_became_a_credit_falls_back_and_keeps_the_credit(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator = shop(failed_paid("credited", chain=Chain.MONAD))
    with blocking(coordinator, wallet=evm, fallback=FALLBACK) as router:
        result = generate(router)
        assert router.credits() == [PRICE]
    assert isinstance(result.network_error, JobFailedError)
    assert "became a credit" in str(result.network_error)
    assert TOKEN not in repr(result)


def test_a_coordinator_that_is_away_when_a_job_is_late_leaves_the_job_to_be_looked_at(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator = shop(LATE, cancel=httpx.ConnectError("refused"))
    with blocking(coordinator, wallet=evm, fallback=FALLBACK) as router:
        result = generate(router)
    assert "could not be cancelled" in str(result.network_error)
    assert list(purse.awaited()) == [JOB_ID]


def test_without_a_fallback_a_late_job_goes_on_and_the_error_says_that_it_will_be_paid_for(
    evm: Wallet,
) -> None:
    coordinator = shop(LATE)
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobTimeoutError, match="is paid for if it does") as caught:
            generate(router)
        assert coordinator.cancels == []
        coordinator.about_job = [DONE]
        assert router.result(caught.value.job_id).payment is not None


def test_a_late_job_is_cancelled_when_asked_for_and_not_charged(evm: Wallet, purse: PurseFile) -> None:
    coordinator = shop(LATE)
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobTimeoutError) as caught:
        generate(router, cancel_on_timeout=True)
    assert caught.value.cancelled
    assert len(coordinator.cancels) == 1


def test_a_free_late_job_is_left_alone_when_the_fallback_answers() -> None:
    coordinator = FakeCoordinator([RUNNING], fallback=COMPLETION)
    with blocking(coordinator, fallback=FALLBACK) as router:
        assert router.run_llm("hello", timeout_s=2.0).source == "fallback"
    assert coordinator.cancels == []


def test_a_result_of_the_network_has_no_error(evm: Wallet) -> None:
    with blocking(shop(DONE), wallet=evm, fallback=FALLBACK) as router:
        assert generate(router).network_error is None
