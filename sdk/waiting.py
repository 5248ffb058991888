"""Waiting for the end of a job, through coordinators that are away for a while."""

from __future__ import annotations

from collections.abc import Callable

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.answers import answered, refusal
from compute_router.sdk.errors import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    JobTimeoutError,
    UnexpectedAnswerError,
)
from compute_router.sdk.requests import job_call
from compute_router.sdk.rhythm import PollRhythm, retry_pause_s
from compute_router.sdk.snapshots import JobSnapshot, read_snapshot
from compute_router.sdk.steps import Flow, Reply, call, pause

Clock = Callable[[], float]
"""Seconds on a clock that never goes back."""

StatusObserver = Callable[[JobStatus], None]
"""Told the job's status after every look at it."""


def wait_for_end(
    job_id: str,
    timeout_s: float,
    *,
    clock: Clock,
    rhythm: PollRhythm,
    request_timeout_s: float,
    observe: StatusObserver | None = None,
) -> Flow[JobSnapshot]:
    """Ask for a job until it ended. It is asked at least once, and a last time when the time is over.

    Raises:
        JobTimeoutError: it did not end in time.
        CoordinatorUnreachableError, CoordinatorFailedError: the time is over, and the last question was
            not answered.
        ComputeRouterError: the coordinator does not know the job, or answered something else.
    """
    deadline = clock() + timeout_s
    failures_in_a_row = 0
    while True:
        asked_at = clock()
        wait_s = rhythm.wait_s(deadline - asked_at)
        reply = yield from call(job_call(job_id, wait_s, request_timeout_s))
        now = clock()
        try:
            snapshot = read_job_reply(reply, job_id)
        except (CoordinatorUnreachableError, CoordinatorFailedError) as error:
            if now >= deadline:
                raise _with_job(error, job_id) from None
            failures_in_a_row += 1
            pause_s = retry_pause_s(failures_in_a_row)
        else:
            if observe is not None:
                observe(snapshot.status)
            if snapshot.ended:
                return snapshot
            if now >= deadline:
                raise JobTimeoutError(job_id, timeout_s)
            failures_in_a_row = 0
            pause_s = rhythm.pause_s(wait_s, now - asked_at)
        if pause_s > 0:
            yield from pause(min(pause_s, deadline - now))


def read_job_reply(reply: Reply, job_id: str) -> JobSnapshot:
    """The snapshot in a reply to a question for a job.

    Raises:
        ComputeRouterError: there is none.
    """
    answer = answered(reply)
    if answer.status >= 400:
        raise refusal(answer)
    if answer.status != 200:
        raise UnexpectedAnswerError(f"The coordinator answered with HTTP status {answer.status}.")
    return read_snapshot(answer.body, job_id)


def _with_job(error: ComputeRouterError, job_id: str) -> ComputeRouterError:
    if isinstance(error, CoordinatorUnreachableError):
        return CoordinatorUnreachableError(f"{error} Job {job_id} may still finish.", job_id)
    return error
