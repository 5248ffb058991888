from __future__ import annotations

import httpx
import pytest

from compute_router.sdk import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    InvalidArgumentError,
    JobCancelledError,
    JobFailedError,
    JobStatus,
    JobTimeoutError,
    NotFoundError,
    NoTrustedWorkerError,
    UnexpectedAnswerError,
)
from tests.fakes.http_coordinator import (
    ASSIGNED,
    JOB_ID,
    PENDING,
    RUNNING,
    FakeCoordinator,
    completed,
    failed,
    job_answer,
    refused,
)
from tests.sdk.clients import blocking

OUTPUT = b'{"text":"hello","model":"m"}'
LOST = httpx.ReadError("connection lost")


def waits(coordinator: FakeCoordinator) -> list[str]:
    return [look.query for look in coordinator.looks]


def test_a_coordinator_that_waits_is_asked_once_for_a_job_that_ends_in_time() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.result(JOB_ID, timeout_s=60)
    assert waits(coordinator) == ["wait=60"]
    assert coordinator.clock.pauses == []


def test_a_long_wait_is_cut_into_polls_of_a_minute() -> None:
    coordinator = FakeCoordinator([PENDING, RUNNING, completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.result(JOB_ID, timeout_s=150)
    assert waits(coordinator) == ["wait=60", "wait=60", "wait=30"]
    assert coordinator.clock.pauses == []


def test_a_coordinator_that_does_not_wait_is_polled_twice_a_second() -> None:
    coordinator = FakeCoordinator([PENDING, PENDING, PENDING, completed(OUTPUT)], long_poll=False)
    with blocking(coordinator) as router:
        router.result(JOB_ID, timeout_s=30)
    assert waits(coordinator) == ["wait=30", "wait=30", "", ""]
    assert coordinator.clock.pauses == [0.5, 0.5, 0.5]


def test_the_next_job_of_the_same_client_profits_from_what_was_learned() -> None:
    coordinator = FakeCoordinator([PENDING, PENDING, completed(OUTPUT)], long_poll=False)
    with blocking(coordinator) as router:
        router.result(JOB_ID, timeout_s=30)
        router.result(JOB_ID, timeout_s=30)
    assert waits(coordinator) == ["wait=30", "wait=30", "", ""]


def test_a_job_that_does_not_end_in_time_is_a_timeout_that_names_the_job() -> None:
    coordinator = FakeCoordinator([PENDING])
    with blocking(coordinator) as router, pytest.raises(JobTimeoutError, match="may still finish") as timeout:
        router.result(JOB_ID, timeout_s=30)
    assert timeout.value.job_id == JOB_ID
    assert coordinator.clock.now == 1030


def test_polling_ends_on_time_with_a_last_look() -> None:
    coordinator = FakeCoordinator([PENDING], long_poll=False)
    with blocking(coordinator) as router, pytest.raises(JobTimeoutError):
        router.result(JOB_ID, timeout_s=1.2)
    assert coordinator.clock.now == pytest.approx(1001.2)
    assert len(coordinator.looks) == 4


def test_no_time_at_all_still_gets_one_look() -> None:
    coordinator = FakeCoordinator([completed(OUTPUT)])
    with blocking(coordinator) as router:
        assert router.result(JOB_ID, timeout_s=0).output == {"text": "hello", "model": "m"}
    assert waits(coordinator) == [""]


def test_a_broken_connection_while_waiting_is_tried_again() -> None:
    coordinator = FakeCoordinator([LOST, httpx.ConnectError("refused"), completed(OUTPUT)])
    with blocking(coordinator) as router:
        assert router.result(JOB_ID, timeout_s=30).verified
    assert coordinator.clock.pauses == [0.5, 1.0]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_coordinator_that_cannot_serve_for_a_moment_is_asked_again(status: int) -> None:
    coordinator = FakeCoordinator([(status, b"<html>busy</html>"), completed(OUTPUT)])
    with blocking(coordinator) as router:
        assert router.result(JOB_ID, timeout_s=30).verified


def test_an_answer_in_between_makes_retries_quick_again() -> None:
    coordinator = FakeCoordinator([LOST, LOST, PENDING, LOST, completed(OUTPUT)])
    with blocking(coordinator) as router:
        router.result(JOB_ID, timeout_s=200)
    assert coordinator.clock.pauses == [0.5, 1.0, 0.5]


def test_a_coordinator_that_stays_away_is_unreachable_and_the_job_is_named() -> None:
    coordinator = FakeCoordinator([PENDING, LOST])
    with blocking(coordinator) as router, pytest.raises(CoordinatorUnreachableError) as error:
        router.result(JOB_ID, timeout_s=90)
    assert error.value.job_id == JOB_ID
    assert coordinator.clock.now == pytest.approx(1090)


def test_a_coordinator_that_keeps_failing_is_reported_as_that() -> None:
    coordinator = FakeCoordinator([refused(503, "storage_unavailable", message="The disk is full.")])
    with (
        blocking(coordinator) as router,
        pytest.raises(CoordinatorFailedError, match="disk is full") as error,
    ):
        router.result(JOB_ID, timeout_s=10)
    assert error.value.status == 503


def test_a_job_that_the_coordinator_does_not_know_is_not_waited_for() -> None:
    coordinator = FakeCoordinator([refused(404, "Job not found")])
    with blocking(coordinator) as router, pytest.raises(NotFoundError):
        router.result(JOB_ID, timeout_s=30)
    assert len(coordinator.looks) == 1


def test_every_state_of_the_job_is_shown_to_the_observer() -> None:
    coordinator = FakeCoordinator([PENDING, ASSIGNED, RUNNING, completed(OUTPUT)])
    seen: list[JobStatus] = []
    with blocking(coordinator, longest_wait_s=1) as router:
        router.result(JOB_ID, timeout_s=30, on_status=seen.append)
    assert seen == [JobStatus.PENDING, JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.COMPLETED]
    assert waits(coordinator) == ["wait=1"] * 4


def test_a_failed_job_says_why() -> None:
    body = (
        b'{"error":"attempts_exhausted","message":"Every attempt failed.",'
        b'"last_reason":"worker_error","detail":"x"}'
    )
    coordinator = FakeCoordinator([job_answer("failed", body)])
    with (
        blocking(coordinator) as router,
        pytest.raises(JobFailedError, match=r"Every attempt failed\.") as error,
    ):
        router.result(JOB_ID)
    assert error.value.job_id == JOB_ID
    assert (error.value.reason, error.value.last_reason, error.value.detail) == (
        "attempts_exhausted",
        "worker_error",
        "x",
    )


def test_a_failed_job_of_another_coordinator_has_a_code_only() -> None:
    with (
        blocking(FakeCoordinator([failed("worker_disconnected")])) as router,
        pytest.raises(JobFailedError, match="worker_disconnected") as error,
    ):
        router.result(JOB_ID)
    assert error.value.last_reason is None


def test_a_private_job_that_lost_its_workers_fails_like_one_that_had_none() -> None:
    with (
        blocking(FakeCoordinator([failed("no_trusted_worker")])) as router,
        pytest.raises(NoTrustedWorkerError),
    ):
        router.result(JOB_ID)


def test_a_cancelled_job_is_told_from_a_failed_one() -> None:
    with blocking(FakeCoordinator([job_answer("cancelled")])) as router, pytest.raises(JobCancelledError):
        router.result(JOB_ID)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"not json"),
        (200, b"{}"),
        (200, b'{"id":"' + JOB_ID.encode() + b'","status":"done"}'),
        (200, b"[" * 100_000),
        (200, b"\xff\xfe"),
        (302, b""),
        job_answer("completed", OUTPUT, job_id="another-job"),
        job_answer("failed", b"null"),
    ],
)
def test_an_answer_of_another_shape_is_an_error_and_not_a_guess(answer: tuple[int, bytes]) -> None:
    with blocking(FakeCoordinator([answer])) as router, pytest.raises(UnexpectedAnswerError):
        router.result(JOB_ID)


@pytest.mark.parametrize("job_id", ["", "../health", "a/b", "a?wait=1", "a b", "x" * 129, "é"])
def test_what_cannot_be_a_job_id_is_not_asked_for(job_id: str) -> None:
    coordinator = FakeCoordinator()
    with blocking(coordinator) as router, pytest.raises(InvalidArgumentError):
        router.job(job_id)
    assert coordinator.asked == []
