"""What the JobStore is asked about jobs and receipts; it answers each with the message or value named."""

from __future__ import annotations

from compute_router.actors.messages.base import Message
from compute_router.protocol.failures import Failure
from compute_router.protocol.messages import JobComplete
from compute_router.protocol.payments import NewPayment
from compute_router.protocol.receipts import Receipt
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import DayQuota, IdempotencyKey, JobView, NewJob


class InsertJob(Message, frozen=True):
    """Keep a new job. Answer: the trusted keys of its user if it is PRIVATE, else an empty tuple.

    If its idempotency key was used before, nothing is kept, and the answer is the Replay. If the API key has
    used up its ``quota``, nothing is kept, and the answer is :class:`QuotaUsedUp`.

    A ``payment`` is kept together with the job or not at all. If it was used before, nothing is kept, and the
    answer is :class:`PaymentUsed`; if it spends a credit that is not there or too small,
    :class:`CreditUsedUp`.

    With a ``refused`` result the job is kept as one that has failed, so that nobody ever takes it up.
    """

    job: NewJob
    key: IdempotencyKey | None = None
    quota: DayQuota | None = None
    payment: NewPayment | None = None
    refused: bytes | None = None


class QuotaUsedUp(Message, frozen=True):
    """The API key has made as many jobs as it may on this day."""


class PaymentUsed(Message, frozen=True):
    """The authorization was taken for an earlier job, whatever became of that."""

    job_id: str


class CreditUsedUp(Message, frozen=True):
    """There is no such credit, or not enough left of it."""


class FindReplay(Message, frozen=True):
    """Ask: what does this user's idempotency key stand for already? Answer: the Replay, or None."""

    user_id: str
    key: IdempotencyKey


class RecordAssigned(Message, frozen=True):
    """Give a job to a worker. Answer: :class:`AssignmentRecorded`."""

    job_id: str
    attempt: int
    pubkey: str
    lease: DurationMs


class AssignmentRecorded(Message, frozen=True):
    """``payload`` is None when the store did not find the job in the expected state.

    ``request_hash`` is its SHA-256 hex, for the receipt to be checked against.
    """

    job_id: str
    attempt: int
    payload: bytes | None
    request_hash: str | None = None


class RecordStarted(Message, frozen=True):
    """The worker began. No answer."""

    job_id: str
    attempt: int


class RecordRequeued(Message, frozen=True):
    """An attempt ended and the job waits again. No answer."""

    job_id: str
    attempt: int
    reason: Failure
    window: DurationMs
    keep_tried: bool
    counts: bool


class RecordCompletion(Message, frozen=True):
    """Check a completion's proof and keep it. Answer: :class:`CompletionRecorded`.

    ``receipt`` is the frame's, if it was read already. ``request_hash`` is the SHA-256 hex of the payload;
    None when an earlier run sent it out. With ``receipt_required``, a completion without one is refused.
    """

    worker_id: int
    pubkey: str
    attempt: int
    frame: JobComplete
    proven: bool = False
    receipt: Receipt | None = None
    request_hash: str | None = None
    receipt_required: bool = False


class CompletionRecorded(Message, frozen=True):
    """``view`` is set when the result was kept; ``reason`` says why it was not believed."""

    worker_id: int
    job_id: str
    attempt: int
    view: JobView | None
    reason: str | None = None


class ClassifyLate(Message, frozen=True):
    """A completion for a job that is not live: find out what to tell its worker. Answer: :class:`Deliver`."""

    worker_id: int
    pubkey: str
    job_id: str
    attempt: int | None
    output_hash: str


class RecordFailed(Message, frozen=True):
    """End a job without output. Answer: :class:`JobEnded`; asked from the edge, the view."""

    job_id: str
    attempt: int
    result: bytes


class RecordCancelled(Message, frozen=True):
    """End an unfinished job at its owner's wish. Answer: :class:`JobEnded`."""

    job_id: str


class NoteAlive(Message, frozen=True):
    """Remember that the coordinator runs at this moment. No answer."""


class DeleteFinished(Message, frozen=True):
    """Delete some jobs that ended before a time, and old evidence. Answer: :class:`Deleted`."""

    before: UnixMs
    limit: int


class ForgetCodes(Message, frozen=True):
    """Forget some pairing codes that expired unused long ago. Answer: :class:`Deleted`."""

    limit: int


class ForgetKeys(Message, frozen=True):
    """Forget some idempotency keys first used before a time. Answer: :class:`Deleted`."""

    before: UnixMs
    limit: int


class Deleted(Message, frozen=True):
    """How much was deleted by the request that is named."""

    by: DeleteFinished | ForgetCodes | ForgetKeys
    count: int


class JobEnded(Message, frozen=True):
    """A job's end is durable; ``view`` is None when the store had it in another state."""

    job_id: str
    view: JobView | None


class KeepReceipt(Message, frozen=True):
    """A receipt that came apart from its completion. Answer: :class:`Deliver` of an error, or nothing."""

    worker_id: int
    pubkey: str
    receipt: bytes
    signature: str


class GetReceipt(Message, frozen=True):
    """Ask: what a receipt's statement is made of. Answer: :class:`ReceiptFacts`, or None."""

    job_id: str


class ReceiptFacts(Message, frozen=True):
    """A job, and the SHA-256 hex of its result and who made it if it is completed."""

    view: JobView
    output_hash: str | None
    worker_pubkey: str | None


class GetJob(Message, frozen=True):
    """Ask: one job. Answer: JobView or None."""

    job_id: str


class LoadUnfinished(Message, frozen=True):
    """Ask: every unfinished job. Answer: :class:`Recover`."""
