"""The hosted fallback: another provider for PUBLIC inference that the network could not serve.

A PRIVATE prompt must never leave the user's own machines. So the decision and the request both look at
the privacy class, each on its own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.failures import Failure
from compute_router.protocol.jobs import JobType, PrivacyClass
from compute_router.sdk.errors import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    FallbackFailedError,
    InvalidArgumentError,
    JobFailedError,
    JobTimeoutError,
)
from compute_router.sdk.jobs import CheckedJob
from compute_router.sdk.results import LlmResult
from compute_router.sdk.settings import checked_url
from compute_router.sdk.steps import Call, NotReached, Reply, Target

_NOT_SERVED: Final = frozenset({Failure.NO_ELIGIBLE_WORKER.value, Failure.ATTEMPTS_EXHAUSTED.value})


class Fallback(msgspec.Struct, frozen=True):
    """An OpenAI-compatible endpoint: ``base_url`` is what comes before ``/chat/completions``.

    ``model`` is asked for in place of the job's own. ``api_key`` None sends no Authorization header.
    """

    base_url: str
    api_key: str | None
    model: str
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse an unusable address at once, not in the middle of an outage."""
        checked_url(self.base_url)

    def __repr__(self) -> str:
        """Everything but the key."""
        return f"Fallback(base_url={self.base_url!r}, model={self.model!r})"


class _Message(msgspec.Struct, frozen=True):
    content: str


class _Choice(msgspec.Struct, frozen=True):
    message: _Message


class _Completion(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    model: str


def is_hosted(job: CheckedJob) -> bool:
    """Whether a job is one that another provider may see: PUBLIC inference."""
    return job.job_type is JobType.LLM_INFER and job.privacy is PrivacyClass.PUBLIC


def may_fall_back(job: CheckedJob, error: ComputeRouterError) -> bool:
    """Whether a job that the network failed with this error may go to another provider."""
    if not is_hosted(job):
        return False
    if isinstance(error, JobFailedError):
        return error.reason in _NOT_SERVED
    return isinstance(error, JobTimeoutError | CoordinatorUnreachableError | CoordinatorFailedError)


def fallback_call(fallback: Fallback, job: CheckedJob) -> Call:
    """The request for a completion.

    Raises:
        InvalidArgumentError: the job is not PUBLIC inference.
    """
    if job.job_type is not JobType.LLM_INFER or job.privacy is not PrivacyClass.PUBLIC:
        raise InvalidArgumentError("Only PUBLIC inference may go to a hosted fallback.")
    body: dict[str, Any] = {
        "model": fallback.model,
        "messages": [{"role": "user", "content": job.payload["prompt"]}],
    }
    if "max_tokens" in job.payload:
        body["max_tokens"] = job.payload["max_tokens"]
    encoded = msgspec.json.encode(body)
    return Call("POST", "/chat/completions", fallback.timeout_s, encoded, Target.FALLBACK)


def read_completion(reply: Reply, network_error: ComputeRouterError) -> LlmResult:
    """The completion in a reply, as a result that nothing proves.

    Raises:
        FallbackFailedError: there is none.
    """
    if isinstance(reply, NotReached):
        raise _failed(reply.problem, network_error)
    if reply.status != 200:
        raise _failed(f"it answered with HTTP status {reply.status}.", network_error)
    try:
        completion = msgspec.json.decode(reply.body, type=_Completion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _failed(f"its answer cannot be read: {error}", network_error) from None
    if not completion.choices or not completion.choices[0].message.content:
        raise _failed("its answer is empty.", network_error)
    return LlmResult(
        text=completion.choices[0].message.content,
        model=completion.model,
        source="fallback",
        job_id=None,
        receipt=None,
        verified=False,
        verification_error="The hosted fallback gives no receipts.",
        price=None,
        created_at=None,
        completed_at=None,
        network_error=network_error,
    )


def _failed(problem: str, network_error: ComputeRouterError) -> FallbackFailedError:
    return FallbackFailedError(f"{network_error} The hosted fallback failed too: {problem}", network_error)
