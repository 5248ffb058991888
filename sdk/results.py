"""What a finished job gives back."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.jobs import TaskType
from compute_router.protocol.receipts import Receipt
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.errors import UnexpectedAnswerError
from compute_router.sdk.job_payment import JobPayment
from compute_router.sdk.outputs import (
    ClassificationOutput,
    ExtractionOutput,
    LlmOutput,
    Sentiment,
    SummaryOutput,
    read_output,
)


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result comes from, and whether that is proven.

    ``verified`` is this client's own check of hash and signature over the bytes that arrived;
    ``verification_error`` says why it failed. ``receipt`` may be there without being proven. ``price`` is
    the quoted one in micro-USD, None when the job was not submitted by the same call. ``created_at`` and
    ``completed_at`` are the coordinator's times (RFC 3339, UTC). A result of the hosted fallback has
    neither job nor receipt, and is never verified. ``sealed`` says that the coordinator could read neither
    the job nor this result. ``payment`` is what was paid, None for a free job. ``network_error`` is why the
    hosted fallback answered; it says whether a job may still run and be paid for at the network.
    """

    source: Literal["network", "fallback"]
    job_id: str | None
    receipt: Receipt | None
    verified: bool
    verification_error: str | None
    price: MicroUsd | None
    created_at: str | None
    completed_at: str | None
    sealed: bool = False
    payment: JobPayment | None = None
    network_error: ComputeRouterError | None = None

    @property
    def worker_pubkey(self) -> str | None:
        """The key that made the result; None unless that is proven."""
        return self.receipt.provider_pubkey if self.receipt and self.verified else None


class LlmResult(Provenance, frozen=True, kw_only=True):
    """Generated text and the model that wrote it."""

    text: str
    model: str


class SummaryResult(Provenance, frozen=True, kw_only=True):
    """A summary, and the number of words of the input."""

    summary: str
    word_count: int


class ClassificationResult(Provenance, frozen=True, kw_only=True):
    """The sentiment of a text, with a confidence from 0 to 1."""

    sentiment: Sentiment
    confidence: float


class ExtractionResult(Provenance, frozen=True, kw_only=True):
    """The JSON values found in a text, and how many."""

    extracted: list[Any]
    count: int


TaskResult = SummaryResult | ClassificationResult | ExtractionResult


class JobResult(Provenance, frozen=True, kw_only=True):
    """The output of a job of any kind.

    ``output_json`` is the exact bytes that were hashed and signed, or, of a sealed job, what was in them.
    """

    output_json: bytes

    @property
    def output(self) -> Any:
        """The output as plain Python values.

        Raises:
            UnexpectedAnswerError: the bytes are not UTF-8 JSON, or are nested too deeply.
        """
        try:
            return msgspec.json.decode(self.output_json)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UnexpectedAnswerError(f"The output of job {self.job_id} cannot be read: {error}") from None

    def as_llm(self) -> LlmResult:
        """The output of an ``LLM_INFER`` job.

        Raises:
            UnexpectedAnswerError: it is not one.
            JobFailedError: the worker reported an error in place of an output.
        """
        return LlmResult(**_fields(self), **_fields(read_output(self.output_json, LlmOutput, self._id)))

    def as_task(self, task_type: TaskType) -> TaskResult:
        """The output of a ``TASK`` job of this type.

        Raises:
            UnexpectedAnswerError, JobFailedError: as :meth:`as_llm`.
        """
        match task_type:
            case TaskType.SUMMARIZE:
                summary = read_output(self.output_json, SummaryOutput, self._id)
                return SummaryResult(**_fields(self), **_fields(summary))
            case TaskType.CLASSIFY:
                classification = read_output(self.output_json, ClassificationOutput, self._id)
                return ClassificationResult(**_fields(self), **_fields(classification))
            case TaskType.EXTRACT_JSON:
                extraction = read_output(self.output_json, ExtractionOutput, self._id)
                return ExtractionResult(**_fields(self), **_fields(extraction))

    @property
    def _id(self) -> str:
        return self.job_id or ""


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    fields = msgspec.structs.asdict(struct)
    fields.pop("output_json", None)
    return fields
