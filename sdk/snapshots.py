"""One look at a job: the coordinator's answer, kept as the bytes that came."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.errors import ComputeRouterError, NoTrustedWorkerError
from compute_router.protocol.failures import Failure
from compute_router.protocol.http_api import JobAnswer
from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import format_usd
from compute_router.sdk.errors import JobCancelledError, JobFailedError, UnexpectedAnswerError
from compute_router.sdk.job_payment import JobPayment, payment_of
from compute_router.sdk.verification import Verification, verify_answer

_ANSWERS: Final = msgspec.json.Decoder(JobAnswer)


class JobSnapshot(msgspec.Struct, frozen=True):
    """A job as the coordinator described it. ``answer_json`` is the whole answer, byte for byte."""

    answer: JobAnswer
    answer_json: bytes

    def __repr__(self) -> str:
        """Which job, and where it stands; a credit token in the answer is like money."""
        return f"JobSnapshot({self.job_id!r}, {self.status.value})"

    @property
    def payment(self) -> JobPayment | None:
        """How the job's payment stands; None if it is free."""
        return payment_of(self.answer)

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.answer.id

    @property
    def status(self) -> JobStatus:
        """Where the job stands."""
        return self.answer.status

    @property
    def ended(self) -> bool:
        """Whether the job will change no more."""
        return self.answer.status in FINAL

    @property
    def result_json(self) -> bytes:
        """The output of a completed job or the error of a failed one; ``null`` before that."""
        return bytes(self.answer.result)

    def verify(self, request_hash: str | None = None) -> Verification:
        """Check the receipt of a completed job over the bytes that came.

        ``request_hash`` is the SHA-256 hex of the payload that was sent; a receipt that names another request
        proves nothing. None does not look at it.
        """
        return verify_answer(self.answer, request_hash)


class _FailedBody(msgspec.Struct, frozen=True):
    error: str
    message: str | None = None
    last_reason: str | None = None
    detail: str | None = None


def read_snapshot(answer_json: bytes, job_id: str | None = None) -> JobSnapshot:
    """Read the answer of ``GET /v1/jobs/{id}``. ``job_id`` is the job it must be about; None takes any.

    Raises:
        UnexpectedAnswerError: it is not such an answer, or is about another job.
    """
    try:
        answer = _ANSWERS.decode(answer_json)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedAnswerError(f"This is not the answer about a job: {error}") from None
    if job_id is not None and answer.id != job_id:
        raise UnexpectedAnswerError(
            f"The coordinator was asked for job {job_id} and answered for {answer.id}."
        )
    return JobSnapshot(answer, answer_json)


def job_failure(snapshot: JobSnapshot) -> ComputeRouterError:
    """The exception that a failed or cancelled job stands for."""
    job_id = snapshot.job_id
    cancelled = snapshot.status is JobStatus.CANCELLED
    if cancelled and snapshot.result_json == b"null":
        return JobCancelledError(
            "The job was cancelled." + _about_money(snapshot.payment),
            job_id=job_id,
            reason=Failure.CANCELLED.value,
            payment=snapshot.payment,
        )
    try:
        body = msgspec.json.decode(snapshot.result_json, type=_FailedBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return UnexpectedAnswerError(
            f"Job {job_id} is {snapshot.status.value} without a readable reason: {error}"
        )
    sentence = body.message or f"The job failed: {body.error}."
    if body.error == Failure.NO_TRUSTED_WORKER.value:
        return NoTrustedWorkerError(sentence, job_id)
    kind = JobCancelledError if cancelled else JobFailedError
    return kind(
        sentence + _about_money(snapshot.payment),
        job_id=job_id,
        reason=body.error,
        last_reason=body.last_reason,
        detail=body.detail,
        payment=snapshot.payment,
    )


def _about_money(payment: JobPayment | None) -> str:
    if payment is None:
        return ""
    if payment.state is PaymentState.VOID:
        return " Nothing was charged."
    if payment.state is PaymentState.CREDITED:
        return f" The {format_usd(payment.amount)} paid for it became a credit, which is spent first."
    return " Its payment is not decided yet: if the money moves, it becomes a credit."
