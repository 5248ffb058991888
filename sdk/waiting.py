"""Waiting for the end of a job, through coordinators that are away for a while."""

from __future__ import annotations

from compute_router.protocol.errors import ComputeRouterError
from compute_router.sdk.answers import read_answer_about
from compute_router.sdk.errors import CoordinatorFailedError, CoordinatorUnreachableError, JobTimeoutError
from compute_router.sdk.options import StatusObserver
from compute_router.sdk.requests import job_call
from compute_router.sdk.retries import Clock, Retries
from compute_router.sdk.rhythm import PollRhythm
from compute_router.sdk.snapshots import JobSnapshot
from compute_router.sdk.steps import Flow, call, pause


def wait_for_end(
    job_id: str,
    timeout_s: float,
    *,
    retries: Retries,
    clock: Clock,
    rhythm: PollRhythm,
    request_timeout_s: float,
    observe: StatusObserver | None = None,
) -> Flow[JobSnapshot]:
    """Ask for a job until it ended. It is asked at least once, and a last time when the time is over.

    ``retries`` knows when that is; ``timeout_s`` is how long it was, for the error.

    Raises:
        JobTimeoutError: it did not end in time.
        CoordinatorUnreachableError, CoordinatorFailedError: the last question was not answered, and the time
            is over, or will be before the coordinator wants to be asked again.
        ComputeRouterError: the coordinator does not know the job, or answered something else.
    """
    pause_s: float | None
    while True:
        because: str | None = None
        asked_at = clock()
        wait_s = rhythm.wait_s(retries.remaining_s)
        reply = yield from call(job_call(job_id, wait_s, request_timeout_s))
        try:
            snapshot = read_answer_about(reply, job_id)
        except (CoordinatorUnreachableError, CoordinatorFailedError) as error:
            because = str(error)
            pause_s = retries.pause_s(
                error.retry_after_s if isinstance(error, CoordinatorFailedError) else None
            )
            if pause_s is None:
                raise _with_job(error, job_id) from None
        else:
            if observe is not None:
                observe(snapshot.status)
            if snapshot.ended:
                return snapshot
            remaining_s = retries.remaining_s
            if remaining_s <= 0:
                raise JobTimeoutError(job_id, timeout_s)
            retries.succeeded()
            pause_s = min(rhythm.pause_s(wait_s, clock() - asked_at), remaining_s)
        if pause_s > 0:
            yield from pause(pause_s, because)


def _with_job(error: ComputeRouterError, job_id: str) -> ComputeRouterError:
    if isinstance(error, CoordinatorUnreachableError):
        return CoordinatorUnreachableError(f"{error} Job {job_id} may still finish.", job_id)
    return error
