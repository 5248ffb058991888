from __future__ import annotations

import asyncio
from typing import Literal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.errors import (
    ComputeRouterError,
    NoTrustedWorkerError,
    OutputHashMismatchError,
    RequestError,
)
from compute_router.protocol.failures import Failure
from compute_router.protocol.jobs import PrivacyClass
from compute_router.sdk import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    Fallback,
    FallbackFailedError,
    InvalidArgumentError,
    JobFailedError,
    JobTimeoutError,
    LlmJob,
    PaymentRequiredError,
    ReceiptMissingError,
    SubmissionUnknownError,
    TaskJob,
    UnexpectedAnswerError,
    WrongNetworkError,
)
from compute_router.sdk.fallback import fallback_call, may_fall_back
from compute_router.sdk.jobs import check_job
from tests.fakes.http_coordinator import (
    FALLBACK_HOST,
    JOB_ID,
    PENDING,
    Answer,
    FakeCoordinator,
    completed,
    failed,
    job_answer,
    refused,
)
from tests.sdk.clients import FALLBACK, asynchronous, blocking

SECRET = "my medical history"
COMPLETION = (200, b'{"model":"hosted-1","choices":[{"message":{"role":"assistant","content":"Hi."}}]}')

# All the ways in which the network can fail to serve a job, each with the job's privacy class left open.
OUTAGES: dict[str, dict[str, object]] = {
    "no worker": {"about_job": [failed("no_eligible_worker")]},
    "attempts exhausted": {"about_job": [failed("attempts_exhausted")]},
    "timeout": {"about_job": [PENDING]},
    "unreachable for a quote": {"quote": httpx.ConnectError("refused")},
    "unreachable for the job": {"commit": httpx.ConnectError("refused")},
    "hung up on the job": {"commit": httpx.RemoteProtocolError("hung up")},
    "lost while waiting": {"about_job": [httpx.ReadError("reset")]},
    "unavailable": {"commit": refused(503, "unavailable")},
}
OTHER_FAILURES: dict[str, dict[str, object]] = {
    "no trusted worker at once": {"commit": refused(422, "no_trusted_worker", job_id=JOB_ID)},
    "no trusted worker later": {"about_job": [failed("no_trusted_worker")]},
    "worker error": {"about_job": [failed("worker_error")]},
    "cancelled": {"about_job": [job_answer("cancelled")]},
    "refused": {"commit": refused(400, "invalid_request")},
    "payment": {"commit": refused(402, "payment_required")},
    "wrong shape": {"about_job": [completed(b"{}")]},
    "worker error as output": {"about_job": [completed(b'{"error":"x"}')]},
    "nonsense": {"commit": (200, b"<html>")},
}
EVERYTHING = OUTAGES | OTHER_FAILURES

ERRORS: list[ComputeRouterError] = [
    CoordinatorUnreachableError("x"),
    SubmissionUnknownError("x"),
    CoordinatorFailedError("x", 503),
    JobTimeoutError(JOB_ID, 60),
    NoTrustedWorkerError("x", JOB_ID),
    PaymentRequiredError("x"),
    RequestError("x"),
    UnexpectedAnswerError("x"),
    WrongNetworkError("x"),
    OutputHashMismatchError("x"),
    ReceiptMissingError("x"),
    *(JobFailedError("x", job_id=JOB_ID, reason=failure.value) for failure in Failure),
]


def scripted(script: dict[str, object], fallback: Answer | Exception = COMPLETION) -> FakeCoordinator:
    return FakeCoordinator(fallback=fallback, **script)  # type: ignore[arg-type]


@pytest.mark.parametrize("outage", OUTAGES)
def test_public_inference_that_the_network_could_not_serve_goes_to_the_fallback(outage: str) -> None:
    coordinator = scripted(OUTAGES[outage])
    with blocking(coordinator, fallback=FALLBACK) as router:
        result = router.run_llm("hello", max_tokens=9)
    assert (result.text, result.model, result.source) == ("Hi.", "hosted-1", "fallback")
    assert (result.verified, result.receipt, result.job_id, result.worker_pubkey) == (False, None, None, None)
    [asked] = coordinator.fallback_asked
    assert (asked.path, asked.authorization) == ("/v1/chat/completions", "Bearer secret-key")
    assert asked.json == {
        "model": "hosted-model",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 9,
    }


@pytest.mark.parametrize("failure", EVERYTHING)
@pytest.mark.parametrize("privacy", ["PRIVATE", PrivacyClass.PRIVATE])
@pytest.mark.parametrize("sealed", [True, False])
def test_private_inference_never_reaches_the_fallback(
    failure: str, privacy: Literal["PRIVATE"] | PrivacyClass, sealed: bool
) -> None:
    coordinator = scripted(EVERYTHING[failure])
    with blocking(coordinator, fallback=FALLBACK) as router, pytest.raises(ComputeRouterError):
        router.run_llm(SECRET, privacy=privacy, sealed=sealed)
    assert coordinator.fallback_asked == []
    assert all(
        SECRET.encode() not in asked.body for asked in coordinator.asked if asked.host == FALLBACK_HOST
    )


@pytest.mark.parametrize("failure", EVERYTHING)
@pytest.mark.parametrize("sealed", [True, False])
def test_private_inference_of_the_asyncio_client_never_reaches_the_fallback(
    failure: str, sealed: bool
) -> None:
    coordinator = scripted(EVERYTHING[failure])

    async def run() -> None:
        async with asynchronous(coordinator, fallback=FALLBACK) as router:
            await router.run_llm(SECRET, privacy="PRIVATE", sealed=sealed)

    with pytest.raises(ComputeRouterError):
        asyncio.run(run())
    assert coordinator.fallback_asked == []


@pytest.mark.parametrize("failure", EVERYTHING)
@pytest.mark.parametrize("privacy", PrivacyClass)
@pytest.mark.parametrize("sealed", [True, False])
def test_tasks_never_reach_the_fallback(failure: str, privacy: PrivacyClass, sealed: bool) -> None:
    coordinator = scripted(EVERYTHING[failure])
    with blocking(coordinator, fallback=FALLBACK) as router, pytest.raises(ComputeRouterError):
        router.run_task("summarize", SECRET, privacy=privacy, sealed=sealed)
    assert coordinator.fallback_asked == []


@pytest.mark.parametrize("failure", OTHER_FAILURES)
def test_public_inference_that_failed_for_another_reason_does_not_go_to_the_fallback(failure: str) -> None:
    coordinator = scripted(OTHER_FAILURES[failure])
    with blocking(coordinator, fallback=FALLBACK) as router, pytest.raises(ComputeRouterError):
        router.run_llm("hello")
    assert coordinator.fallback_asked == []


def test_a_served_job_does_not_go_to_the_fallback() -> None:
    coordinator = scripted({"about_job": [completed(b'{"text":"t","model":"m"}')]})
    with blocking(coordinator, fallback=FALLBACK) as router:
        assert router.run_llm("hello").source == "network"
    assert coordinator.fallback_asked == []


def test_an_unverified_result_does_not_go_to_the_fallback() -> None:
    coordinator = scripted({"about_job": [job_answer("completed", b'{"text":"t","model":"m"}')]})
    with (
        blocking(coordinator, fallback=FALLBACK, require_verified=True) as router,
        pytest.raises(ReceiptMissingError),
    ):
        router.run_llm("hello")
    assert coordinator.fallback_asked == []


@given(st.sampled_from(ERRORS), st.text(min_size=1), st.sampled_from(["FAST", "CHEAP", "AUTO"]))
def test_no_error_whatsoever_lets_a_private_job_or_a_task_fall_back(
    error: ComputeRouterError, text: str, policy: Literal["FAST", "CHEAP", "AUTO"]
) -> None:
    for job in (
        LlmJob(text, privacy="PRIVATE", policy=policy),
        TaskJob("summarize", text, policy=policy),
        TaskJob("classify", text, privacy="PRIVATE", policy=policy),
    ):
        checked = check_job(job)
        assert not may_fall_back(checked, error)
        with pytest.raises(InvalidArgumentError):
            fallback_call(FALLBACK, checked)


def test_without_a_fallback_the_networks_error_stands() -> None:
    with blocking(scripted(OUTAGES["no worker"])) as router, pytest.raises(JobFailedError):
        router.run_llm("hello")


@pytest.mark.parametrize(
    "answer",
    [
        (401, b'{"error":"bad key"}'),
        (200, b"<html>"),
        (200, b'{"model":"m","choices":[]}'),
        (200, b'{"model":"m","choices":[{"message":{"content":""}}]}'),
        (200, b'{"model":"m","choices":[{"message":{"content":null}}]}'),
        (302, b""),
        httpx.ConnectError("refused"),
    ],
)
def test_a_fallback_that_fails_too_is_told_together_with_the_networks_error(
    answer: Answer | Exception,
) -> None:
    coordinator = scripted(OUTAGES["no worker"], answer)
    with blocking(coordinator, fallback=FALLBACK) as router, pytest.raises(FallbackFailedError) as error:
        router.run_llm("hello")
    assert isinstance(error.value.network_error, JobFailedError)
    assert "secret-key" not in str(error.value)
    assert len(coordinator.fallback_asked) == 1


def test_the_key_goes_to_the_fallback_only_and_is_not_shown() -> None:
    coordinator = scripted(OUTAGES["timeout"])
    with blocking(coordinator, fallback=FALLBACK) as router:
        router.run_llm("hello")
    others = [asked for asked in coordinator.asked if asked.host != FALLBACK_HOST]
    assert {asked.authorization for asked in others} == {None}
    assert "secret-key" not in repr(FALLBACK)


def test_a_fallback_without_key_sends_none() -> None:
    coordinator = scripted(OUTAGES["no worker"])
    with blocking(coordinator, fallback=Fallback(FALLBACK.base_url, None, "m")) as router:
        router.run_llm("hello")
    assert coordinator.fallback_asked[0].authorization is None


def test_an_unusable_fallback_address_is_refused_before_it_is_needed() -> None:
    with pytest.raises(InvalidArgumentError):
        Fallback("api.example", None, "m")
