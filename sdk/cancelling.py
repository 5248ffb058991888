"""Cancelling a job, and giving up one that took too long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from compute_router.protocol.errors import ComputeRouterError, PaymentInProgressError
from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.answers import error_code, read_answer_about, refusal
from compute_router.sdk.asking import ask
from compute_router.sdk.errors import JobFinishedError, JobTimeoutError, UnexpectedAnswerError
from compute_router.sdk.requests import cancel_call, job_call
from compute_router.sdk.retries import Retries
from compute_router.sdk.snapshots import JobSnapshot
from compute_router.sdk.steps import Flow, call

_REFUSED: Final = 400


def cancel_job(job_id: str, retries: Retries, request_timeout_s: float) -> Flow[JobSnapshot]:
    """Cancel a job, and return it as cancelled.

    It may be asked any number of times. So when the coordinator says that the job has ended, the job is
    looked at: it may have ended by this very request, whose first answer was lost.

    Raises:
        JobFinishedError: the job ended otherwise; the error carries the job.
        PaymentInProgressError: the job is done and is being paid for; wait for its result.
        UnexpectedAnswerError: the coordinator contradicts itself about the end of the job.
        ComputeRouterError: the coordinator does not know the job, cannot cancel, or cannot be reached.
    """
    answer = yield from ask(cancel_call(job_id, request_timeout_s), retries)
    if answer.status < _REFUSED or error_code(answer) != JobFinishedError.code:
        return read_answer_about(answer, job_id)
    look = yield from ask(job_call(job_id, 0, request_timeout_s), retries)
    snapshot = read_answer_about(look, job_id)
    if snapshot.status is JobStatus.CANCELLED:
        return snapshot
    if not snapshot.ended:
        raise UnexpectedAnswerError(
            f"The coordinator says that job {job_id} has ended, and that it is {snapshot.status.value}."
        )
    raise JobFinishedError(str(refusal(answer)), snapshot)


def give_up(
    job_id: str,
    late: ComputeRouterError,
    timeout_s: float,
    retries: Retries,
    request_timeout_s: float,
    note: Callable[[JobSnapshot], Flow[None]],
) -> Flow[JobSnapshot]:
    """Cancel a job whose time is over; ``late`` is what ended the waiting for it. ``note`` sees it cancelled.

    Returns the job if it ended by itself at the last moment. One that is done and being paid for is waited
    for by one more request, because it is too late to save its price.

    Raises:
        JobTimeoutError: it was cancelled, or it was only late and could not be cancelled.
        ComputeRouterError: ``late``, when the coordinator failed both questions.
    """
    try:
        cancelled = yield from cancel_job(job_id, retries, request_timeout_s)
    except JobFinishedError as finished:
        return finished.snapshot
    except PaymentInProgressError as problem:
        reply = yield from call(job_call(job_id, max(1, int(request_timeout_s)), request_timeout_s))
        with suppress(ComputeRouterError):
            snapshot = read_answer_about(reply, job_id)
            if snapshot.ended:
                return snapshot
        raise JobTimeoutError(
            job_id, timeout_s, "It is done and is being paid for: ask for its result later."
        ) from problem
    except ComputeRouterError as problem:
        if not isinstance(late, JobTimeoutError):
            raise late from problem
        raise JobTimeoutError(
            job_id, timeout_s, f"It may still finish, for it could not be cancelled: {problem}"
        ) from problem
    yield from note(cancelled)
    raise JobTimeoutError(job_id, timeout_s, "It was cancelled.", cancelled=True) from late
