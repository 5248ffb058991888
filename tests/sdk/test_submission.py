"""Submitting a job once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter

import httpx
import pytest

from compute_router.sdk import (
    ComputeRouter,
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    IdempotencyConflictError,
    InvalidArgumentError,
    JobTimeoutError,
    LlmJob,
    NoTrustedWorkerError,
    SubmissionUnknownError,
)
from compute_router.sdk.steps import Answered, NotReached
from compute_router.sdk.submission import Outcome, outcome_of
from tests.fakes.http_coordinator import (
    JOB_ID,
    PENDING,
    RUNNING,
    Asked,
    FakeCoordinator,
    LostAnswer,
    Reply,
    busy,
    completed,
    refused,
)
from tests.sdk.clients import asynchronous, blocking

OUTPUT = b'{"text":"hello","model":"m"}'
SUMMARY = b'{"summary":"Short.","word_count":12}'
REFUSED = httpx.ConnectError("refused")
RESET = httpx.ReadError("reset")
UNKNOWN_OUTCOMES: list[Exception] = [
    httpx.ReadTimeout("slow"),
    httpx.WriteTimeout("slow"),
    httpx.WriteError("broken pipe"),
    httpx.RemoteProtocolError("hung up"),
    RESET,
]
NOT_TAKEN: list[Reply] = [REFUSED, httpx.ConnectTimeout("slow"), busy(503), busy(429)]


def sent_alike(asked: list[Asked]) -> bool:
    return len({(each.path, each.body, each.idempotency_key) for each in asked}) == 1


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (NotReached("x", may_have_arrived=False), Outcome.NOT_TAKEN),
        (NotReached("x", may_have_arrived=True), Outcome.UNKNOWN),
        (Answered(429, b""), Outcome.NOT_TAKEN),
        (Answered(503, b""), Outcome.NOT_TAKEN),
        (Answered(502, b""), Outcome.UNKNOWN),
        (Answered(504, b""), Outcome.UNKNOWN),
        (Answered(500, b""), Outcome.DECIDED),
        (Answered(201, b""), Outcome.DECIDED),
        (Answered(409, b""), Outcome.DECIDED),
    ],
)
def test_a_reply_tells_whether_the_job_was_taken(reply: Answered | NotReached, outcome: Outcome) -> None:
    assert outcome_of(reply) is outcome


def test_every_submission_carries_128_random_bits_of_its_own() -> None:
    coordinator = FakeCoordinator()
    with blocking(coordinator) as router:
        for _ in range(3):
            router.submit(LlmJob("the same"))
    keys = [job.idempotency_key or "" for job in coordinator.committed]
    assert all(re.fullmatch(r"[0-9a-f]{32}", key) for key in keys)
    assert len(set(keys)) == 3


def test_only_submissions_carry_a_key() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.run_llm("hello")
        router.cancel(JOB_ID)
    assert [each.method for each in coordinator.asked if each.idempotency_key] == ["POST"]


def test_the_callers_own_key_makes_one_job_of_several_calls() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)])
    with blocking(coordinator) as router:
        assert router.submit(LlmJob("hello"), idempotency_key="order-17") == JOB_ID
        router.run_llm("hello", idempotency_key="order-17")
    assert len(coordinator.taken) == 1
    assert sent_alike(coordinator.committed)


def test_a_key_that_was_used_for_another_job_has_its_own_exception() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.submit(LlmJob("hello"), idempotency_key="order-17")
        with pytest.raises(IdempotencyConflictError):
            router.submit(LlmJob("something else"), idempotency_key="order-17")
    assert len(coordinator.committed) == 2


@pytest.mark.parametrize("key", ["", "a b", "ü", "x\n", "x" * 256])
def test_what_cannot_be_a_key_is_refused_before_anything_is_sent(key: str) -> None:
    coordinator = FakeCoordinator()
    with blocking(coordinator) as router, pytest.raises(InvalidArgumentError, match="visible ASCII"):
        router.submit(LlmJob("hello"), idempotency_key=key)
    assert coordinator.asked == []


@pytest.mark.parametrize("lost", UNKNOWN_OUTCOMES)
def test_a_job_that_was_taken_although_the_answer_was_lost_is_not_made_twice(lost: Exception) -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)], commit=[LostAnswer(lost), None])
    with blocking(coordinator) as router:
        assert router.run_llm("hello").verified
    assert len(coordinator.taken) == 1
    assert len(coordinator.committed) == 2
    assert sent_alike(coordinator.committed)


@pytest.mark.parametrize("keeps_keys", [True, False])
@pytest.mark.parametrize("reply", NOT_TAKEN)
def test_a_job_that_was_not_taken_is_sent_again_to_any_coordinator(reply: Reply, keeps_keys: bool) -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)], commit=[reply, reply, None], keeps_keys=keeps_keys)
    with blocking(coordinator) as router:
        assert router.run_llm("hello").verified
    assert len(coordinator.taken) == 1
    assert sent_alike(coordinator.committed)
    assert coordinator.clock.pauses == [0.5, 1]


def test_nothing_is_sent_again_after_the_job_was_taken() -> None:
    coordinator = FakeCoordinator([RESET, busy(503), RUNNING, completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.run_llm("hello", timeout_s=120)
    assert len(coordinator.committed) == 1


@pytest.mark.parametrize("reply", [RESET, (502, b"<html>"), (504, b"<html>")])
def test_a_coordinator_without_keys_never_gets_a_job_twice_that_it_may_have(reply: Reply) -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)], commit=[busy(503), reply, None], keeps_keys=False)
    with blocking(coordinator) as router, pytest.raises(SubmissionUnknownError) as error:
        router.run_llm("hello")
    assert len(coordinator.committed) == 2
    assert error.value.idempotency_key is None


def test_the_quote_of_each_job_decides_about_repeats_for_coordinators_can_be_replaced() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.run_llm("hello")
        coordinator.keeps_keys = False
        coordinator.commit = RESET
        with pytest.raises(SubmissionUnknownError):
            router.run_llm("hello")
    assert len(coordinator.committed) == 2


def test_a_job_that_may_have_arrived_stays_unknown_although_later_repeats_certainly_did_not() -> None:
    coordinator = FakeCoordinator(commit=[LostAnswer(RESET), REFUSED, busy(503)])
    with blocking(coordinator) as router, pytest.raises(SubmissionUnknownError) as error:
        router.run_llm("hello", timeout_s=20)
    key = coordinator.committed[0].idempotency_key
    assert error.value.idempotency_key == key
    assert f"idempotency key {key}" in str(error.value)
    coordinator.commit = None
    with blocking(coordinator) as router:
        assert router.submit(LlmJob("hello"), idempotency_key=error.value.idempotency_key) == JOB_ID
    assert len(coordinator.taken) == 1


def test_a_decision_after_a_lost_answer_is_the_coordinators_last_word() -> None:
    no_worker = refused(422, "no_trusted_worker", job_id=JOB_ID)
    coordinator = FakeCoordinator(commit=[RESET, no_worker])
    with blocking(coordinator) as router, pytest.raises(NoTrustedWorkerError):
        router.run_llm("hello", privacy="PRIVATE", sealed=False)


def test_a_coordinator_that_is_not_there_is_tried_until_the_time_is_over() -> None:
    coordinator = FakeCoordinator(quote=REFUSED)
    with blocking(coordinator) as router, pytest.raises(CoordinatorUnreachableError):
        router.run_llm("hello", timeout_s=12)
    assert coordinator.clock.pauses == [0.5, 1, 2, 4, 4.5]
    assert coordinator.committed == []


def test_quote_submission_and_waiting_share_one_time() -> None:
    coordinator = FakeCoordinator([PENDING], quote=[busy(503, "4"), None], commit=[busy(429, "5"), None])
    with blocking(coordinator) as router, pytest.raises(JobTimeoutError):
        router.run_llm("hello", timeout_s=30)
    assert coordinator.clock.pauses == [4.5, 5.5]
    assert coordinator.looks[0].query == "wait=20"
    assert coordinator.clock.now == pytest.approx(1030)


def test_a_submission_alone_has_its_own_time() -> None:
    coordinator = FakeCoordinator(commit=REFUSED)
    with blocking(coordinator) as router, pytest.raises(CoordinatorUnreachableError):
        router.submit(LlmJob("hello"), timeout_s=7)
    assert coordinator.clock.now == pytest.approx(1007)


@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_that_the_coordinator_asks_for_is_kept(status: int) -> None:
    until = busy(status, "Mon, 09 Feb 2026 12:00:09 GMT", Date="Mon, 09 Feb 2026 12:00:00 GMT")
    coordinator = FakeCoordinator([completed(OUTPUT)], commit=[busy(status, "7"), until, None])
    with blocking(coordinator) as router:
        router.run_llm("hello")
    assert coordinator.clock.pauses == [7.5, 10]


def test_a_pause_that_is_longer_than_the_time_left_is_reported_at_once() -> None:
    coordinator = FakeCoordinator(commit=busy(503, "3600"))
    with blocking(coordinator) as router, pytest.raises(CoordinatorFailedError) as error:
        router.run_llm("hello")
    assert (error.value.status, error.value.reason, error.value.retry_after_s) == (503, "busy", 3600)
    assert coordinator.clock.pauses == []


def test_while_waiting_the_pause_that_the_coordinator_asks_for_is_kept_too() -> None:
    coordinator = FakeCoordinator([busy(503, "3"), busy(429, "2"), completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.result(JOB_ID, timeout_s=30)
    assert coordinator.clock.pauses == [3.5, 3]


def test_a_single_question_is_asked_once() -> None:
    coordinator = FakeCoordinator([busy(503, "1")], quote=busy(503))
    with blocking(coordinator) as router:
        with pytest.raises(CoordinatorFailedError):
            router.quote("TASK")
        with pytest.raises(CoordinatorFailedError):
            router.job(JOB_ID)
    assert len(coordinator.asked) == 2


def test_a_coordinator_that_restarts_in_the_middle_of_a_task_gives_one_job_and_one_result() -> None:
    away: list[Reply] = [REFUSED, busy(503, "2")]
    coordinator = FakeCoordinator(
        quote=[*away, None],
        commit=[LostAnswer(RESET), REFUSED, busy(503, "1"), None],
        about_job=[PENDING, RESET, *away, RUNNING, completed(SUMMARY)],
    )
    submitted: list[str] = []
    with blocking(coordinator, longest_wait_s=2) as router:
        result = router.run_task("summarize", "text", on_submitted=submitted.append)
    assert (result.summary, result.verified, result.job_id) == ("Short.", True, JOB_ID)
    assert len(coordinator.taken) == 1
    assert sent_alike(coordinator.committed)
    assert submitted == [JOB_ID]
    assert coordinator.clock.now < 1030


def test_tasks_that_share_an_asyncio_client_keep_their_keys_apart() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)], loses_first_answers=True)

    async def run() -> None:
        async with asynchronous(coordinator) as router:
            await asyncio.gather(*(router.run_llm(f"prompt {i}", timeout_s=600) for i in range(50)))

    asyncio.run(run())
    every_job_is_its_own_and_sent_twice(coordinator, 50)


def test_threads_that_share_a_client_keep_their_keys_apart() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)], loses_first_answers=True)
    with blocking(coordinator) as router:
        threads = [
            threading.Thread(target=router.run_llm, args=(f"prompt {i}",), kwargs={"timeout_s": 600})
            for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    every_job_is_its_own_and_sent_twice(coordinator, 8)


def every_job_is_its_own_and_sent_twice(coordinator: FakeCoordinator, jobs: int) -> None:
    sent = Counter((each.idempotency_key, each.body) for each in coordinator.committed)
    assert len(sent) == len({key for key, _ in sent}) == len({body for _, body in sent}) == jobs
    assert set(sent.values()) == {2}
    assert len(coordinator.taken) == jobs


def test_a_connection_that_breaks_after_the_job_was_taken_is_survived_on_a_real_port() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)], commit=[LostAnswer(ConnectionResetError()), None])
    with coordinator.serving() as url, ComputeRouter(url, jitter=lambda: 0.0) as router:
        assert router.run_llm("hello").verified
    assert len(coordinator.taken) == 1
    assert sent_alike(coordinator.committed)
