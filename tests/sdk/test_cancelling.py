from __future__ import annotations

import asyncio

import httpx
import pytest

from compute_router.protocol import errors as protocol_errors
from compute_router.sdk import (
    CoordinatorUnreachableError,
    InvalidArgumentError,
    JobCancelledError,
    JobFinishedError,
    JobSnapshot,
    JobStatus,
    JobTimeoutError,
    NotFoundError,
    RefusedError,
    UnexpectedAnswerError,
)
from tests.fakes.http_coordinator import (
    CANCELLED,
    JOB_ID,
    PENDING,
    RUNNING,
    FakeCoordinator,
    Reply,
    busy,
    completed,
    job_answer,
    refused,
)
from tests.sdk.clients import FALLBACK, asynchronous, blocking

OUTPUT = b'{"text":"hello","model":"m"}'
FINISHED = refused(409, "job_finished", message="The job is completed already.")
RESET = httpx.ReadError("reset")
REFUSED = httpx.ConnectError("refused")


def test_a_cancelled_job_is_returned_as_it_is_now() -> None:
    coordinator = FakeCoordinator()
    with blocking(coordinator) as router:
        snapshot = router.cancel(JOB_ID)
    assert (snapshot.job_id, snapshot.status) == (JOB_ID, JobStatus.CANCELLED)
    assert [(each.method, each.path) for each in coordinator.asked] == [("DELETE", f"/v1/jobs/{JOB_ID}")]


def test_the_asyncio_client_cancels_too() -> None:
    async def run() -> JobSnapshot:
        async with asynchronous(FakeCoordinator()) as router:
            return await router.cancel(JOB_ID)

    assert asyncio.run(run()).status is JobStatus.CANCELLED


def test_a_job_that_finished_first_cannot_be_cancelled_and_comes_with_the_error() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)], cancel=FINISHED)
    with blocking(coordinator) as router, pytest.raises(JobFinishedError, match="completed already") as error:
        router.cancel(JOB_ID)
    assert error.value.job_id == JOB_ID
    assert error.value.snapshot.verify().verified
    assert isinstance(error.value, protocol_errors.JobFinishedError)


def test_a_coordinator_that_calls_a_job_finished_and_does_not_show_it_is_refusing() -> None:
    coordinator = FakeCoordinator([FINISHED], cancel=FINISHED)
    with blocking(coordinator) as router:
        for ask in (router.cancel, router.job, router.result):
            with pytest.raises(RefusedError) as error:
                ask(JOB_ID)
            assert error.value.reason == "job_finished"


def test_a_job_that_is_being_paid_for_is_told_from_one_that_has_ended() -> None:
    in_progress = refused(409, "payment_in_progress", message="Its payment is being settled.")
    coordinator = FakeCoordinator([RUNNING], cancel=in_progress)
    with blocking(coordinator) as router, pytest.raises(protocol_errors.PaymentInProgressError):
        router.cancel(JOB_ID)


def test_a_job_that_was_cancelled_before_is_cancelled_still() -> None:
    coordinator = FakeCoordinator([CANCELLED], cancel=FINISHED)
    with blocking(coordinator) as router:
        assert router.cancel(JOB_ID).status is JobStatus.CANCELLED


@pytest.mark.parametrize("first", [RESET, REFUSED, busy(503), busy(429)])
def test_a_cancel_is_asked_for_until_it_is_answered(first: Reply) -> None:
    coordinator = FakeCoordinator([CANCELLED], cancel=[first, FINISHED])
    with blocking(coordinator) as router:
        assert router.cancel(JOB_ID).status is JobStatus.CANCELLED
    assert len(coordinator.cancels) == 2
    assert coordinator.clock.pauses == [0.5]


def test_a_cancel_that_is_not_answered_ends_with_its_time() -> None:
    coordinator = FakeCoordinator(cancel=REFUSED)
    with blocking(coordinator) as router, pytest.raises(CoordinatorUnreachableError):
        router.cancel(JOB_ID, timeout_s=3)
    assert coordinator.clock.now == pytest.approx(1003)


def test_an_unknown_job_cannot_be_cancelled() -> None:
    coordinator = FakeCoordinator(cancel=refused(404, "not_found", message="There is no job with this id."))
    with blocking(coordinator) as router, pytest.raises(NotFoundError):
        router.cancel(JOB_ID)


def test_a_coordinator_without_cancels_says_so() -> None:
    coordinator = FakeCoordinator(cancel=refused(405, "method_not_allowed"))
    with blocking(coordinator) as router, pytest.raises(protocol_errors.MethodNotAllowedError):
        router.cancel(JOB_ID)


@pytest.mark.parametrize("about", [PENDING, RUNNING])
def test_a_coordinator_that_contradicts_itself_is_not_believed(about: Reply) -> None:
    coordinator = FakeCoordinator([about], cancel=FINISHED)
    with blocking(coordinator) as router, pytest.raises(UnexpectedAnswerError, match="has ended, and that"):
        router.cancel(JOB_ID)


def test_an_answer_about_another_job_is_an_error() -> None:
    coordinator = FakeCoordinator(cancel=job_answer("cancelled", job_id="another"))
    with blocking(coordinator) as router, pytest.raises(UnexpectedAnswerError):
        router.cancel(JOB_ID)


def test_what_cannot_be_a_job_id_is_not_asked_for() -> None:
    coordinator = FakeCoordinator()
    with blocking(coordinator) as router, pytest.raises(InvalidArgumentError):
        router.cancel("../health")
    assert coordinator.asked == []


def test_waiting_for_a_job_that_somebody_cancels_ends_in_its_own_exception() -> None:
    coordinator = FakeCoordinator([PENDING, CANCELLED])
    with blocking(coordinator) as router, pytest.raises(JobCancelledError) as error:
        router.run_llm("hello", timeout_s=120)
    assert (error.value.job_id, error.value.reason) == (JOB_ID, "cancelled")


def test_a_cancelled_job_keeps_the_reason_of_its_last_attempt() -> None:
    body = b'{"error":"cancelled","message":"The job was cancelled.","last_reason":"lease_expired"}'
    with (
        blocking(FakeCoordinator([job_answer("cancelled", body)])) as router,
        pytest.raises(JobCancelledError) as error,
    ):
        router.result(JOB_ID)
    assert error.value.last_reason == "lease_expired"


def test_a_job_that_is_late_goes_on_by_default() -> None:
    coordinator = FakeCoordinator([PENDING])
    with blocking(coordinator) as router, pytest.raises(JobTimeoutError, match="may still finish") as error:
        router.run_llm("hello")
    assert not error.value.cancelled
    assert coordinator.cancels == []


def test_a_job_that_is_late_is_cancelled_when_asked_for() -> None:
    coordinator = FakeCoordinator([PENDING])
    with blocking(coordinator) as router, pytest.raises(JobTimeoutError, match="It was cancelled") as error:
        router.run_llm("hello", cancel_on_timeout=True)
    assert error.value.cancelled
    assert len(coordinator.cancels) == 1
    assert coordinator.clock.now == 1060


def test_a_job_that_ends_just_before_its_cancel_gives_its_result() -> None:
    coordinator = FakeCoordinator([PENDING, completed(OUTPUT)], cancel=FINISHED)
    with blocking(coordinator) as router:
        result = router.run_llm("hello", cancel_on_timeout=True)
    assert (result.text, result.verified) == ("hello", True)


@pytest.mark.parametrize("problem", [RESET, busy(503), refused(404, "not_found"), refused(405, "x")])
def test_a_late_job_that_cannot_be_cancelled_is_late_and_that_is_said(problem: Reply) -> None:
    coordinator = FakeCoordinator([PENDING], cancel=problem)
    with (
        blocking(coordinator) as router,
        pytest.raises(JobTimeoutError, match="could not be cancelled") as error,
    ):
        router.run_llm("hello", cancel_on_timeout=True)
    assert not error.value.cancelled
    assert len(coordinator.cancels) == 1


def test_a_job_whose_coordinator_was_away_at_the_end_is_cancelled_when_that_works() -> None:
    coordinator = FakeCoordinator([RESET])
    with blocking(coordinator) as router, pytest.raises(JobTimeoutError) as error:
        router.run_llm("hello", cancel_on_timeout=True)
    assert error.value.cancelled


def test_a_coordinator_that_stays_away_is_reported_as_that() -> None:
    coordinator = FakeCoordinator([RESET], cancel=REFUSED)
    with blocking(coordinator) as router, pytest.raises(CoordinatorUnreachableError) as error:
        router.run_llm("hello", cancel_on_timeout=True)
    assert error.value.job_id == JOB_ID


def test_a_late_job_is_cancelled_before_the_fallback_does_it() -> None:
    completion = 200, b'{"model":"hosted-1","choices":[{"message":{"content":"Hi."}}]}'
    coordinator = FakeCoordinator([PENDING], fallback=completion)
    with blocking(coordinator, fallback=FALLBACK) as router:
        assert router.run_llm("hello", cancel_on_timeout=True).source == "fallback"
    assert [each.method for each in coordinator.asked][-2:] == ["DELETE", "POST"]
