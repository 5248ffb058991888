"""Every WebSocket frame between workers and the coordinator, as tagged unions.

Frames are JSON text with a ``type``. Fields that the first protocol does not have are optional for the
other side, and unknown fields are skipped, so that either side can be newer. What a field says is
checked strictly: a wrong type or an unknown value is refused, never read as a default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from compute_router.protocol.jobs import JobType, ModelName, PrivacyClass, ProviderType, Tier
from compute_router.protocol.receipts import PublicKeyHex, Sha256Hex

JobId = Annotated[str, Meta(min_length=1, max_length=128)]
ReasonText = Annotated[str, Meta(max_length=4096)]
Attempt = Annotated[int, Meta(ge=1, le=1_000_000)]
Percent = Annotated[float, Meta(ge=0, le=100)]
CapabilityName = Annotated[str, Meta(min_length=1, max_length=64)]
FeatureName = Annotated[str, Meta(min_length=1, max_length=64)]
Base64Text = Annotated[str, Meta(max_length=1024)]
AddressText = Annotated[str, Meta(min_length=1, max_length=128)]

# msgspec reads a union of Raw and None as None alone. Raw takes any JSON value, so it is what msgspec is
# shown; the structs that use this turn a null into the None that type checkers are shown.
if TYPE_CHECKING:
    OptionalRaw = msgspec.Raw | None
else:
    OptionalRaw = msgspec.Raw

MAX_SLOTS: Final = 64
MAX_MODELS: Final = 256
MAX_MODEL_NAMES_BYTES: Final = 16 * 1024
"""How long the names of all models of a worker may be together, in UTF-8."""
MAX_FEATURES: Final = 32

CLOSE_REPLACED: Final = 4001
"""Close code for a worker's connection when a newer one proves the same key."""

CLOSE_BARRED: Final = 4003
"""Close code for a worker's connection when its key may not take part any more."""

SEALED_V1: Final = "sealed/v1"
"""Feature of a worker: it opens sealed payloads, and seals their results."""

TASKS: Final = "tasks/"
TASKS_V1: Final = TASKS + "v1"
"""Feature of a worker: it runs the built-in tasks as this version defines them, so that every worker that
says so gives the same output for the same payload. A change to what a task puts out needs a new name.
"""


class Frame(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """Base of all frames."""


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model that a worker can run."""

    name: ModelName
    digest: Annotated[str, Meta(max_length=256)] | None = None
    context: int | None = None
    loaded: bool | None = None


class HeldJob(msgspec.Struct, frozen=True):
    """An attempt that a worker still runs, or whose result it has not delivered."""

    job_id: JobId
    attempt: Attempt


class Metrics(msgspec.Struct, frozen=True):
    """What a heartbeat tells about the machine."""

    cpu_pct: Annotated[float, Meta(ge=0)]
    mem_pct: Percent
    active_jobs: Annotated[int, Meta(ge=0)]


# Worker to coordinator


class Register(Frame, frozen=True, tag="register"):
    """A worker offers itself. The fields from ``nonce`` on are sent by our own workers only.

    ``capabilities`` holds names of job types; names that this version does not know are kept out of
    matching. ``signature`` is over :func:`registration_message`. ``instance`` names the running program: if
    it comes back under the same name without an attempt, that attempt never reached it. ``features`` names
    what the worker can do beyond running jobs; names that this version does not know change nothing.
    ``payout_address`` is where the worker wants its earnings: believed only when the signature covers it.
    """

    provider_pubkey: PublicKeyHex
    provider_type: ProviderType
    capabilities: Annotated[list[CapabilityName], Meta(min_length=1, max_length=32)]
    pricing_hint: OptionalRaw = None
    nonce: Base64Text | None = None
    signature: Base64Text | None = None
    agent: Annotated[str, Meta(max_length=256)] | None = None
    slots: Annotated[int, Meta(ge=1, le=MAX_SLOTS)] = 1
    models: Annotated[list[Model], Meta(max_length=MAX_MODELS)] = []
    active_jobs: Annotated[list[HeldJob], Meta(max_length=4 * MAX_SLOTS)] = []
    instance: Annotated[str, Meta(max_length=64)] | None = None
    features: Annotated[list[FeatureName], Meta(max_length=MAX_FEATURES)] = []
    payout_address: AddressText | None = None

    def __post_init__(self) -> None:
        if _is_null(self.pricing_hint):
            msgspec.structs.force_setattr(self, "pricing_hint", None)
        if sum(len(model.name.encode()) for model in self.models) > MAX_MODEL_NAMES_BYTES:
            raise ValueError(f"The names of all models may have at most {MAX_MODEL_NAMES_BYTES} bytes")


class Heartbeat(Frame, frozen=True, tag="heartbeat"):
    """Sent every 10 seconds; it speaks for the socket it arrives on.

    ``jobs`` names the attempts that are being worked on: it renews their leases.
    """

    provider_pubkey: PublicKeyHex
    metrics: Metrics | None = None
    jobs: Annotated[list[HeldJob], Meta(max_length=4 * MAX_SLOTS)] = []


class JobStarted(Frame, frozen=True, tag="job_started"):
    """The worker began to run an attempt."""

    job_id: JobId
    attempt: Attempt


class JobChunk(Frame, frozen=True, tag="job_chunk"):
    """A piece of output while the job runs; it renews the lease."""

    job_id: JobId
    attempt: Attempt
    seq: Annotated[int, Meta(ge=0)]
    delta: Annotated[str, Meta(max_length=65_536)]


class JobComplete(Frame, frozen=True, tag="job_complete"):
    """The output of a job, with the worker's receipt. ``output`` and ``receipt`` stay raw bytes."""

    job_id: JobId
    output: msgspec.Raw
    output_hash: Sha256Hex
    receipt: OptionalRaw = None
    receipt_signature: Base64Text | None = None
    attempt: Attempt | None = None

    def __post_init__(self) -> None:
        if _is_null(self.receipt):
            msgspec.structs.force_setattr(self, "receipt", None)


class JobFailed(Frame, frozen=True, tag="job_failed"):
    """The worker could not run an attempt. ``retryable`` false means that no worker could."""

    job_id: JobId
    attempt: Attempt
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    message: ReasonText
    retryable: bool


class JobReject(Frame, frozen=True, tag="job_reject"):
    """The worker does not take the job."""

    job_id: JobId
    reason: ReasonText
    attempt: Attempt | None = None


class ReceiptSubmit(Frame, frozen=True, tag="receipt_submit"):
    """A receipt sent apart from its ``job_complete``."""

    receipt: msgspec.Raw
    signature: Base64Text


class Drain(Frame, frozen=True, tag="drain"):
    """From a worker: give me no more jobs, I leave when mine are done. To a worker: do so."""


WorkerFrame = (
    Register | Heartbeat | JobStarted | JobChunk | JobComplete | JobFailed | JobReject | ReceiptSubmit | Drain
)


# Coordinator to worker


class Challenge(Frame, frozen=True, tag="challenge"):
    """First frame on every connection: a nonce to sign in ``register``, and the network's CAIP-2 name."""

    nonce: str
    network: str


class RegisterAck(Frame, frozen=True, tag="register_ack"):
    """Answer to ``register``; ``worker_id`` names this connection."""

    status: str
    worker_id: str | None = None
    error: str | None = None


class HeartbeatAck(Frame, frozen=True, tag="heartbeat_ack"):
    """Answer to ``heartbeat``."""

    status: str


class JobAssign(Frame, frozen=True, tag="job_assign"):
    """A job for this worker. The payload is the seeker's own bytes.

    ``deadline_ms`` is the length of the lease from the moment of sending, in milliseconds.
    """

    job_id: str
    job_type: JobType
    payload: msgspec.Raw
    policy: Tier
    privacy_class: PrivacyClass
    user_id: str
    attempt: int | None = None
    deadline_ms: int | None = None
    model: str | None = None


class JobCancel(Frame, frozen=True, tag="job_cancel"):
    """Stop working on an attempt; nothing that comes of it will be accepted."""

    job_id: str
    attempt: int


class JobAck(Frame, frozen=True, tag="job_ack"):
    """What became of a result: ``accepted``, ``stale`` (somebody else was first) or ``rejected``."""

    job_id: str
    status: str
    attempt: int | None = None
    reason: str | None = None


class PaymentPosted(Frame, frozen=True, tag="payment_posted"):
    """Earnings of this worker were paid out: the chain has the transfer. ``amount`` is such as ``$0.010``.

    ``job_ids`` is empty: a payout is for all that was earned since the last one. Other coordinators may name
    jobs, and nothing else.
    """

    job_ids: list[str]
    payout_id: str | None = None
    amount: str | None = None
    address: str | None = None
    transaction_ref: str | None = None


class PaymentFailed(Frame, frozen=True, tag="payment_failed"):
    """A payout to this worker did not happen, so its amount is owed as before. Fields as above."""

    job_ids: list[str]
    payout_id: str | None = None
    amount: str | None = None
    address: str | None = None
    reason: str | None = None


class ErrorFrame(Frame, frozen=True, tag="error"):
    """A frame from the worker that was not understood or not allowed; nothing was changed by it."""

    code: str
    message: str


CoordinatorFrame = (
    Challenge
    | RegisterAck
    | HeartbeatAck
    | JobAssign
    | JobCancel
    | JobAck
    | Drain
    | PaymentPosted
    | PaymentFailed
    | ErrorFrame
)

WORKER_FRAMES: Final = msgspec.json.Decoder(WorkerFrame)
COORDINATOR_FRAMES: Final = msgspec.json.Decoder(CoordinatorFrame)
_ENCODER: Final = msgspec.json.Encoder()


def encode_frame(frame: Frame) -> bytes:
    """One frame as compact JSON bytes."""
    return _ENCODER.encode(frame)


WORKER_FRAME_TYPES: Final = frozenset(str(frame.__struct_config__.tag) for frame in WorkerFrame.__args__)
COORDINATOR_FRAME_TYPES: Final = frozenset(
    str(frame.__struct_config__.tag) for frame in CoordinatorFrame.__args__
)


def registration_message(
    network: str, nonce: str, provider_pubkey: str, payout_address: str | None = None
) -> bytes:
    """Bytes that a worker signs to prove that it holds its key, bound to one network and one connection.

    With a ``payout_address`` they are those of version 2, so that nobody on the way can put in another.
    """
    facts = f"{network}\n{nonce}\n{provider_pubkey}"
    if payout_address is None:
        return f"compute-router/register/v1\n{facts}".encode()
    return f"compute-router/register/v2\n{facts}\n{payout_address}".encode()


def _is_null(raw: msgspec.Raw | None) -> bool:
    return raw is not None and bytes(raw) == b"null"
