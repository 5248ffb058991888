from __future__ import annotations

import asyncio

import httpx
import pytest

from compute_router.protocol.errors import IdempotencyConflictError, PayloadTooLargeError, RequestError
from compute_router.protocol.jobs import Tier
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import (
    ComputeRouter,
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    ExtractionResult,
    InvalidArgumentError,
    JobFailedError,
    LlmJob,
    NoTrustedWorkerError,
    PaymentRequiredError,
    RefusedError,
    SubmissionUnknownError,
    TaskJob,
    UnexpectedAnswerError,
    WrongNetworkError,
)
from compute_router.sdk.settings import ANONYMOUS
from tests.fakes.http_coordinator import (
    JOB_ID,
    WORKER_PUBKEY,
    FakeCoordinator,
    completed,
    refused,
)
from tests.sdk.clients import URL, asynchronous, blocking

LLM_OUTPUT = b'{"text":"Rayleigh","model":"tiny"}'
SUMMARY = b'{"summary":"Short.","word_count":12}'
CLASSIFICATION = b'{"sentiment":"positive","confidence":0.75}'
EXTRACTION = b'{"extracted":[{"a":1},[2]],"count":2}'


def test_inference_is_quoted_committed_and_fetched() -> None:
    coordinator = FakeCoordinator([completed(LLM_OUTPUT)])
    with blocking(coordinator) as router:
        result = router.run_llm("Why is the sky blue?")
    assert [(each.method, each.path, each.query) for each in coordinator.asked] == [
        ("GET", "/v1/quote", "job_type=LLM_INFER&policy=AUTO"),
        ("POST", "/v1/jobs/commit/fast", ""),
        ("GET", f"/v1/jobs/{JOB_ID}", "wait=60"),
    ]
    assert (result.text, result.model, result.source, result.verified) == (
        "Rayleigh",
        "tiny",
        "network",
        True,
    )
    assert (result.job_id, result.price, result.worker_pubkey) == (JOB_ID, MicroUsd(10_000), WORKER_PUBKEY)
    assert (result.created_at, result.completed_at) == (
        "2026-02-09T12:00:00.000Z",
        "2026-02-09T12:00:05.000Z",
    )


async def _run_async(coordinator: FakeCoordinator) -> tuple[str, str]:
    async with asynchronous(coordinator) as router:
        text = (await router.run_llm("hello")).text
        return text, (await router.job(JOB_ID)).status.value


def test_the_asyncio_client_goes_the_same_way() -> None:
    coordinator = FakeCoordinator([completed(LLM_OUTPUT)])
    assert asyncio.run(_run_async(coordinator)) == ("Rayleigh", "completed")
    assert [each.method for each in coordinator.asked] == ["GET", "POST", "GET", "GET"]


def test_a_job_says_all_that_was_asked_for_and_no_more() -> None:
    coordinator = FakeCoordinator([completed(LLM_OUTPUT)])
    with blocking(coordinator) as router:
        router.run_llm(
            "hello",
            max_tokens=5,
            model="tiny",
            policy="CHEAP",
            privacy="PRIVATE",
            sealed=False,
            ttl_s=90,
            deadline_s=2.5,
        )
        router.run_llm("hello")
    assert [job.json for job in coordinator.committed] == [
        {
            "job_type": "LLM_INFER",
            "user_id": "alice",
            "payload": {"prompt": "hello", "max_tokens": 5},
            "privacy_class": "PRIVATE",
            "model": "tiny",
            "ttl_s": 90,
            "deadline_s": 2.5,
        },
        {
            "job_type": "LLM_INFER",
            "user_id": "alice",
            "payload": {"prompt": "hello"},
            "privacy_class": "PUBLIC",
        },
    ]
    assert [job.path for job in coordinator.committed] == ["/v1/jobs/commit/cheap", "/v1/jobs/commit/fast"]


def test_a_summary_is_typed() -> None:
    with blocking(FakeCoordinator([completed(SUMMARY)])) as router:
        result = router.run_task("summarize", "a long text")
    assert (result.summary, result.word_count, result.price) == ("Short.", 12, MicroUsd(1_000))


def test_a_classification_is_typed() -> None:
    with blocking(FakeCoordinator([completed(CLASSIFICATION)])) as router:
        result = router.run_task("classify", "I like it", policy="FAST")
    assert (result.sentiment, result.confidence, result.price) == ("positive", 0.75, MicroUsd(3_000))


def test_an_extraction_is_typed() -> None:
    with blocking(FakeCoordinator([completed(EXTRACTION)])) as router:
        result = router.run_task("extract_json", 'see {"a":1} and [2]')
    assert isinstance(result, ExtractionResult)
    assert (result.extracted, result.count) == ([{"a": 1}, [2]], 2)


def test_tasks_are_waited_for_half_a_minute() -> None:
    coordinator = FakeCoordinator([completed(SUMMARY)])
    with blocking(coordinator) as router:
        router.run_task("summarize", "text")
    assert coordinator.looks[0].query == "wait=30"


@pytest.mark.parametrize(
    "output",
    [
        b"{}",
        b'{"text":"x"}',
        b'{"text":null,"model":"m"}',
        b'"text"',
        SUMMARY,
        b'{"text":"\xff","model":"m"}',
        b'{"error":"x","more":1}',
    ],
)
def test_an_output_of_another_shape_is_an_error_and_not_a_guess(output: bytes) -> None:
    with blocking(FakeCoordinator([completed(output)])) as router, pytest.raises(UnexpectedAnswerError):
        router.run_llm("hello")


@pytest.mark.parametrize(
    "output", [b'{"sentiment":"odd","confidence":0.5}', b'{"sentiment":"neutral","confidence":2}']
)
def test_a_classification_out_of_range_is_an_error(output: bytes) -> None:
    with blocking(FakeCoordinator([completed(output)])) as router, pytest.raises(UnexpectedAnswerError):
        router.run_task("classify", "text")


def test_a_worker_error_dressed_as_an_output_is_a_failed_job() -> None:
    answer = completed(b'{"error":"ollama is not running"}')
    with blocking(FakeCoordinator([answer])) as router, pytest.raises(JobFailedError) as error:
        router.run_llm("hello")
    assert (error.value.reason, error.value.detail) == ("worker_error", "ollama is not running")


def test_a_job_can_be_submitted_now_and_read_later() -> None:
    coordinator = FakeCoordinator([completed(LLM_OUTPUT)])
    with blocking(coordinator) as router:
        job_id = router.submit(LlmJob("hello"))
        assert coordinator.looks == []
        result = router.result(job_id)
    assert result.output_json == LLM_OUTPUT
    assert result.as_llm().text == "Rayleigh"
    assert result.price is None


def test_a_quote_is_typed() -> None:
    with blocking(FakeCoordinator()) as router:
        quote = router.quote("TASK", "FAST")
    assert (quote.price, quote.tier, quote.endpoint) == (MicroUsd(3_000), Tier.FAST, "/v1/jobs/commit/fast")


@pytest.mark.parametrize(
    "body",
    [
        b'{"price":"free","endpoint":"/v1/jobs/commit/fast","policy_resolved":"FAST","network":"n"}',
        b'{"price":"$1","endpoint":"http://evil.example/","policy_resolved":"FAST","network":"n"}',
        b'{"price":"$1","endpoint":"/v1/jobs/commit/fast","policy_resolved":"SLOW","network":"n"}',
        b'{"price":"$1","endpoint":"/v1/jobs/commit/cheap","policy_resolved":"FAST","network":"n"}',
        b'{"price":"$1","endpoint":"/v1/jobs/commit/","policy_resolved":"FAST","network":"n"}',
        b'{"price":"$1","endpoint":"/v1/jobs/commit/../../../x","policy_resolved":"FAST","network":"n"}',
        b'{"price":"$1","endpoint":"/v1/jobs/commit/fast/../../x","policy_resolved":"FAST","network":"n"}',
        b'{"price":"$1","endpoint":"/v1/jobs/commit/fast?x=1","policy_resolved":"FAST","network":"n"}',
        b'{"price":"$1","endpoint":"/v1/jobs/commit/fast@evil","policy_resolved":"FAST","network":"n"}',
        b"<html>",
    ],
)
def test_a_quote_of_another_shape_is_refused_before_the_job_goes_anywhere(body: bytes) -> None:
    coordinator = FakeCoordinator(quote=(200, body))
    with blocking(coordinator) as router, pytest.raises(UnexpectedAnswerError):
        router.run_llm("hello")
    assert coordinator.committed == []


def test_a_named_chain_is_checked_before_the_job_goes_anywhere() -> None:
    coordinator = FakeCoordinator()
    with (
        ComputeRouter(URL, chain="monad", transport=coordinator.transport()) as router,
        pytest.raises(WrongNetworkError, match="eip155:10143"),
    ):
        router.run_llm("hello")
    assert coordinator.committed == []


def test_public_jobs_need_no_user() -> None:
    coordinator = FakeCoordinator([completed(LLM_OUTPUT)])
    with blocking(coordinator, user_id=None) as router:
        router.run_llm("hello")
    assert coordinator.committed[0].json["user_id"] == ANONYMOUS  # type: ignore[index]


def test_private_jobs_need_a_user() -> None:
    coordinator = FakeCoordinator()
    with (
        blocking(coordinator, user_id=None) as router,
        pytest.raises(InvalidArgumentError, match="belong to a user"),
    ):
        router.run_llm("hello", privacy="PRIVATE")
    assert coordinator.asked == []


@pytest.mark.parametrize(
    "job",
    [
        LlmJob(""),
        LlmJob("hello", max_tokens=0),
        LlmJob("hello", model=""),
        LlmJob("hello", policy="SLOW"),  # type: ignore[arg-type]
        LlmJob("hello", privacy="private"),  # type: ignore[arg-type]
        LlmJob("hello", privacy=""),  # type: ignore[arg-type]
        LlmJob(5),  # type: ignore[arg-type]
        LlmJob("hello", ttl_s=0),
        LlmJob("hello", deadline_s=-1),
        TaskJob("summarize", "text", ttl_s=float("nan")),
        TaskJob("summarize", "text", deadline_s=1e9),
        TaskJob("translate", "text"),  # type: ignore[arg-type]
        TaskJob("summarize", ""),
    ],
)
def test_a_job_with_a_value_that_does_not_exist_is_refused_before_anything_is_sent(
    job: LlmJob | TaskJob,
) -> None:
    coordinator = FakeCoordinator()
    with blocking(coordinator) as router, pytest.raises(InvalidArgumentError):
        router.submit(job)
    assert coordinator.asked == []


def test_text_that_is_not_unicode_is_refused() -> None:
    coordinator = FakeCoordinator()
    with blocking(coordinator) as router, pytest.raises(InvalidArgumentError):
        router.run_llm("\ud800")
    assert coordinator.committed == []


def test_a_submission_that_was_never_sent_is_plainly_unreachable() -> None:
    coordinator = FakeCoordinator(commit=httpx.ConnectError("refused"))
    with blocking(coordinator) as router, pytest.raises(CoordinatorUnreachableError) as error:
        router.run_llm("hello")
    assert type(error.value) is CoordinatorUnreachableError


@pytest.mark.parametrize(
    "problem", [httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("hung up"), httpx.ReadError("reset")]
)
def test_a_submission_with_unknown_outcome_is_not_sent_again_to_a_coordinator_without_keys(
    problem: Exception,
) -> None:
    coordinator = FakeCoordinator([completed(LLM_OUTPUT)], commit=problem, keeps_keys=False)
    with blocking(coordinator) as router, pytest.raises(SubmissionUnknownError) as error:
        router.run_llm("hello")
    assert len(coordinator.committed) == 1
    assert error.value.idempotency_key is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refused(400, "invalid_request", message="No."), RequestError),
        (refused(400, "something_new"), RefusedError),
        (refused(402, "payment required"), PaymentRequiredError),
        ((402, b"{}"), PaymentRequiredError),
        (refused(413, "payload_too_large"), PayloadTooLargeError),
        ((413, b"<html>"), PayloadTooLargeError),
        (refused(422, "no_trusted_worker", job_id=JOB_ID), NoTrustedWorkerError),
        (refused(409, "idempotency_conflict"), IdempotencyConflictError),
        (refused(500, "internal_error"), CoordinatorFailedError),
        ((200, b'{"job_id":"x"}'), UnexpectedAnswerError),
        ((201, b"{}"), UnexpectedAnswerError),
    ],
)
def test_every_refusal_of_a_job_has_its_exception(answer: tuple[int, bytes], error: type[Exception]) -> None:
    coordinator = FakeCoordinator(commit=answer)
    with blocking(coordinator) as router, pytest.raises(error):
        router.run_llm("hello")
    assert len(coordinator.committed) == 1


def test_the_users_own_workers_can_be_paired_and_listed() -> None:
    coordinator = FakeCoordinator(
        overrides={
            "/v1/trust/create": (201, b'{"pairing_code":"ABC","expires_at":"2026-02-09T13:00:00.000Z"}'),
            "/v1/trust/claim": (200, b'{"user_id":"alice","paired_at":"2026-02-09T12:00:00.000Z"}'),
            "/v1/trust/list": (200, b'{"providers":[{"provider_pubkey":"k","paired_at":"t"}]}'),
        }
    )
    with blocking(coordinator, user_id="al ice&x=1") as router:
        assert router.create_pairing().pairing_code == "ABC"
        assert router.claim_pairing("ABC", WORKER_PUBKEY).user_id == "alice"
        assert [provider.provider_pubkey for provider in router.list_providers()] == ["k"]
    (created,) = [asked for asked in coordinator.asked if asked.path == "/v1/trust/create"]
    assert created.json == {"user_id": "al ice&x=1"}
    assert coordinator.asked[-1].query == "user_id=al%20ice%26x%3D1"


def test_health_tells_the_workers_online() -> None:
    health = b'{"status":"ok","workers_online":3,"network":"n","timestamp":"t"}'
    with blocking(FakeCoordinator(overrides={"/v1/health": (200, health)})) as router:
        assert router.health().workers_online == 3


def test_a_coordinator_with_problems_tells_them_with_either_status() -> None:
    health = (
        b'{"status":"degraded","workers_online":0,"network":"n","timestamp":"t","problems":["disk full"]}'
    )
    for status in (200, 503):
        with blocking(FakeCoordinator(overrides={"/v1/health": (status, health)})) as router:
            assert router.health().problems == ["disk full"]


def test_a_health_answer_that_says_nothing_is_a_coordinator_that_cannot_serve() -> None:
    coordinator = FakeCoordinator(overrides={"/v1/health": (503, b"<html>")})
    with blocking(coordinator) as router, pytest.raises(CoordinatorFailedError):
        router.health()
    assert len(coordinator.asked) == 1
