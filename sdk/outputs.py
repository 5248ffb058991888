"""The shapes of workers' outputs, one for each kind of job."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from compute_router.protocol.failures import Failure
from compute_router.sdk.errors import JobFailedError, UnexpectedAnswerError

Sentiment = Literal["positive", "negative", "neutral"]
Count = Annotated[int, Meta(ge=0)]


class LlmOutput(msgspec.Struct, frozen=True):
    """Output of ``LLM_INFER``."""

    text: str
    model: str


class SummaryOutput(msgspec.Struct, frozen=True):
    """Output of ``summarize``."""

    summary: str
    word_count: Count


class ClassificationOutput(msgspec.Struct, frozen=True):
    """Output of ``classify``."""

    sentiment: Sentiment
    confidence: Annotated[float, Meta(ge=0, le=1)]


class ExtractionOutput(msgspec.Struct, frozen=True):
    """Output of ``extract_json``."""

    extracted: list[Any]
    count: Count


class _WorkerError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    error: str


T = TypeVar("T", LlmOutput, SummaryOutput, ClassificationOutput, ExtractionOutput)


def read_output(output_json: bytes, kind: type[T], job_id: str) -> T:
    """Read an output of a known kind.

    Raises:
        JobFailedError: it is the single key ``error``, which is how some workers report their own errors.
        UnexpectedAnswerError: it has another shape.
    """
    try:
        return msgspec.json.decode(output_json, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _refuse_worker_error(output_json, job_id)
        raise UnexpectedAnswerError(
            f"The output of job {job_id} is not what this kind of job gives: {error}"
        ) from None


def _refuse_worker_error(output_json: bytes, job_id: str) -> None:
    try:
        report = msgspec.json.decode(output_json, type=_WorkerError)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    raise JobFailedError(
        f"The worker could not run the job: {report.error}",
        job_id=job_id,
        reason=Failure.WORKER_ERROR.value,
        detail=report.error,
    )
