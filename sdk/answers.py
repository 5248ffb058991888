"""Reading the coordinator's answers: a typed value, or the exception that says what went wrong."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from compute_router.protocol.errors import (
    AlreadyClaimedError,
    AuthenticationError,
    ComputeRouterError,
    ExpiredError,
    IdempotencyConflictError,
    InvalidCodeError,
    JobUnfinishedError,
    MalformedJsonError,
    MethodNotAllowedError,
    NotFoundError,
    NoTrustedWorkerError,
    PayloadTooLargeError,
    PaymentInProgressError,
    PermissionDeniedError,
    RequestError,
    UnsupportedMediaTypeError,
)
from compute_router.protocol.http_api import HealthAnswer, QuoteAnswer, ReceiptAnswer
from compute_router.protocol.jobs import Tier
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.errors import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    PaymentRequiredError,
    RefusedError,
    TooManyRequestsError,
    UnexpectedAnswerError,
)
from compute_router.sdk.money import micro_usd_from_text
from compute_router.sdk.retries import retry_after_s
from compute_router.sdk.snapshots import JobSnapshot, read_snapshot
from compute_router.sdk.steps import Answered, NotReached, Reply

T = TypeVar("T")

_BY_CODE: Final[dict[str, type[RequestError]]] = {
    kind.code: kind
    for kind in (
        RequestError,
        MalformedJsonError,
        InvalidCodeError,
        AlreadyClaimedError,
        AuthenticationError,
        ExpiredError,
        IdempotencyConflictError,
        JobUnfinishedError,
        NotFoundError,
        PayloadTooLargeError,
        PaymentInProgressError,
        PermissionDeniedError,
        UnsupportedMediaTypeError,
    )
}
# Other coordinators use codes of their own here, or none.
_BY_STATUS: Final[dict[int, type[RequestError]]] = {
    kind.http_status: kind
    for kind in (
        AuthenticationError,
        NotFoundError,
        PayloadTooLargeError,
        PaymentRequiredError,
        PermissionDeniedError,
        UnsupportedMediaTypeError,
    )
}
# It goes into a header as it is.
_SIGNED_QUOTE: Final = re.compile(r"[A-Za-z0-9_.-]{1,1024}", re.ASCII)
_UNWELL: Final = 503
_TOO_MANY: Final = 429


class Quote(msgspec.Struct, frozen=True):
    """What a job costs, at which service level, and where to commit it.

    ``signed_quote`` is the coordinator's word for the price, where jobs are paid for.
    """

    price: MicroUsd
    tier: Tier
    endpoint: str
    network: str
    expires_at: str | None
    signed_quote: str | None = None


class ReceiptDocument(msgspec.Struct, frozen=True):
    """A receipt, countersigned by the coordinator. ``document_json`` is the whole answer, byte for byte."""

    answer: ReceiptAnswer
    document_json: bytes


class _ErrorBody(msgspec.Struct, frozen=True):
    error: str
    message: str | None = None
    job_id: str | None = None


_ERROR_BODIES: Final = msgspec.json.Decoder(_ErrorBody)
_HEALTH_ANSWERS: Final = msgspec.json.Decoder(HealthAnswer)


def read_answer(reply: Reply, kind: type[T], expected_status: int = 200) -> T:
    """The body of a successful answer.

    Raises:
        ComputeRouterError: no answer, a refusal, or an answer of another shape.
    """
    answer = _successful(reply, expected_status)
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedAnswerError(f"The coordinator's answer cannot be read: {error}") from None


def read_quote(reply: Reply) -> Quote:
    """A quote, with its price as a number and its endpoint known to lie on the same coordinator.

    Raises:
        ComputeRouterError: as :func:`read_answer`.
    """
    answer = read_answer(reply, QuoteAnswer)
    # Exactly: a path with dots or a query would lead the job somewhere else.
    if answer.endpoint != f"/v1/jobs/commit/{answer.policy_resolved.value.lower()}":
        raise UnexpectedAnswerError(f"The quote names an endpoint outside the API: {answer.endpoint!r}.")
    try:
        price = micro_usd_from_text(answer.price)
    except ValueError as error:
        raise UnexpectedAnswerError(f"The quote cannot be read: {error}") from None
    signed = None if isinstance(answer.signed_quote, msgspec.UnsetType) else answer.signed_quote
    if signed is not None and not _SIGNED_QUOTE.fullmatch(signed):
        raise UnexpectedAnswerError("The quote cannot be read: its signed form is none.")
    return Quote(price, answer.policy_resolved, answer.endpoint, answer.network, answer.expires_at, signed)


def read_answer_about(reply: Reply, job_id: str) -> JobSnapshot:
    """The job that a reply is about.

    Raises:
        ComputeRouterError: as :func:`read_answer`, or it is about another job.
    """
    return read_snapshot(_successful(reply, 200).body, job_id)


def read_receipt(reply: Reply, job_id: str) -> ReceiptDocument:
    """The receipt of a job as the coordinator hands it out; not checked, but for which job it is about.

    Raises:
        ComputeRouterError: as :func:`read_answer`, or it is about another job.
    """
    answer = read_answer(reply, ReceiptAnswer)
    if answer.job_id != job_id:
        raise UnexpectedAnswerError(
            f"The coordinator was asked for the receipt of job {job_id} and answered for {answer.job_id}."
        )
    return ReceiptDocument(answer, _successful(reply, 200).body)


def read_health(reply: Reply) -> HealthAnswer:
    """How the coordinator is. One that is unwell may say so with status 503 as well as with 200.

    Raises:
        ComputeRouterError: as :func:`read_answer`.
    """
    if isinstance(reply, Answered) and reply.status == _UNWELL:
        try:
            return _HEALTH_ANSWERS.decode(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise refusal(reply) from None
    return read_answer(reply, HealthAnswer)


def served(reply: Reply) -> Answered:
    """The answer, when there is one that will not change soon; it may be a refusal.

    Raises:
        CoordinatorUnreachableError: there is none.
        CoordinatorFailedError: the coordinator cannot serve now.
    """
    if isinstance(reply, NotReached):
        raise CoordinatorUnreachableError(f"The coordinator cannot be reached: {reply.problem}")
    if _cannot_serve_now(reply):
        raise refusal(reply)
    return reply


def refusal(answer: Answered) -> ComputeRouterError:
    """The exception that an answer with a status of 400 or above stands for."""
    try:
        body = _ERROR_BODIES.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        body = _ErrorBody(f"http_{answer.status}")
    sentence = body.message or f"The coordinator refused with HTTP status {answer.status}: {body.error}."
    if body.error == NoTrustedWorkerError.code and body.job_id is not None:
        return NoTrustedWorkerError(
            body.message or "None of the workers paired with this user is connected.", body.job_id
        )
    if answer.status == MethodNotAllowedError.http_status:
        return MethodNotAllowedError(sentence, answer.headers.get("allow", ""))
    if _cannot_serve_now(answer):
        failed = TooManyRequestsError if answer.status == _TOO_MANY else CoordinatorFailedError
        return failed(sentence, answer.status, body.error, retry_after_s(answer))
    kind = _BY_CODE.get(body.error) or _BY_STATUS.get(answer.status)
    return kind(sentence) if kind else RefusedError(sentence, body.error, answer.status)


def error_code(answer: Answered) -> str:
    """The code that an answer with a status of 400 or above names, or one made of its status."""
    try:
        return _ERROR_BODIES.decode(answer.body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return f"http_{answer.status}"


def _successful(reply: Reply, expected_status: int) -> Answered:
    answer = served(reply)
    if answer.status >= 400:
        raise refusal(answer)
    if answer.status != expected_status:
        raise UnexpectedAnswerError(f"The coordinator answered with HTTP status {answer.status}.")
    return answer


def _cannot_serve_now(answer: Answered) -> bool:
    return answer.status >= 500 or answer.status == _TOO_MANY
