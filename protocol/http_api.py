"""Bodies of the HTTP requests and answers, shared by the coordinator and its clients."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, ModelName, PrivacyClass, ProviderType, Tier, UserId
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments_api import PaymentsPublic
from compute_router.protocol.receipts import PublicKeyHex

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class CommitRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/jobs/commit/{tier}``. ``payload`` goes to the worker byte for byte.

    ``ttl_s`` is how many seconds the job may wait for a worker, ``deadline_s`` how many it may run; None
    leaves them to the coordinator, which also bounds them.

    Unknown keys are refused, because a misspelt ``privacy_class`` must never make a job public.
    """

    job_type: JobType
    user_id: UserId
    payload: msgspec.Raw
    privacy_class: PrivacyClass = PrivacyClass.PUBLIC
    model: ModelName | None = None
    ttl_s: Seconds | None = None
    deadline_s: Seconds | None = None


class CommitAnswer(msgspec.Struct, frozen=True):
    """A job was stored and will end.

    ``credit_token`` is there for paid jobs. It is worth nothing, unless the job fails after its payment was
    settled: then it pays for another job.
    """

    job_id: str
    credit_token: str | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        """Everything but the token, which is like money."""
        return f"CommitAnswer({self.job_id!r})"


class QuoteAnswer(msgspec.Struct, frozen=True):
    """Price of a job and where to commit it. ``expires_at`` null: valid until the price list changes.

    ``signed_quote`` is there where jobs are paid for: see ``signed_quotes``.
    """

    price: str
    endpoint: str
    policy_resolved: Tier
    network: str
    expires_at: str | None = None
    signed_quote: str | msgspec.UnsetType = msgspec.UNSET


class PaymentAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job's payment stands. ``amount`` is in micro-USD, which are also the units of USDC.

    ``transaction_ref`` names the settlement on its chain. ``credit_token`` is there when the money came and
    the job failed, for those who own the job only: it pays for other jobs.
    """

    state: PaymentState
    amount: int
    network: str
    payer: str
    transaction_ref: str | None = None
    credit_token: str | None = None

    def __repr__(self) -> str:
        """Everything but the token, which is like money."""
        return f"PaymentAnswer({self.state.value}, amount={self.amount}, network={self.network!r})"


class JobAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/jobs/{id}``. ``result`` and ``receipt`` are kept raw: see ``receipts``.

    ``payment`` is there for paid jobs only, and ``payment_ref`` when that is settled.
    """

    id: str
    status: JobStatus
    result: msgspec.Raw
    receipt: msgspec.Raw
    created_at: str
    completed_at: str | None
    payment: PaymentAnswer | msgspec.UnsetType = msgspec.UNSET
    payment_ref: str | msgspec.UnsetType = msgspec.UNSET


class AddressLimitsShown(msgspec.Struct, frozen=True):
    """What each address other than the coordinator's own machine may do.

    ``messages_per_second`` counts requests and frames of all kinds; ``calls_per_minute`` those to endpoints
    of one kind, by its name.
    """

    connections: int
    sockets_per_minute: int
    messages_per_second: int
    calls_per_minute: dict[str, int]


class LimitsShown(msgspec.Struct, frozen=True):
    """The limits of a coordinator. ``jobs`` are unfinished ones at once, ``workers`` connected ones.

    ``api_key_calls_per_minute`` is for each API key, wherever its calls come from; its jobs may be limited
    further.
    """

    body_bytes: int
    wait_seconds: int
    ttl_seconds: float
    jobs: int
    jobs_per_user: int
    workers: int
    address: AddressLimitsShown
    api_key_calls_per_minute: dict[str, int]


class ReceiptAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/receipts/{job_id}``; see ``docs/receipts.md``.

    ``receipt`` and ``statement`` are the exact texts that were signed. ``receipt`` and ``signature`` are None
    when the worker sent no receipt; ``provider_pubkey`` is the key that it went by. ``payment_ref`` is the
    settlement of the job's payment, which nobody signed; it is there for paid jobs only.
    """

    job_id: str
    network: str
    receipt: str | None
    signature: str | None
    provider_pubkey: str
    verified: bool
    statement: str
    coordinator_signature: str
    coordinator_pubkey: str
    payment_ref: str | msgspec.UnsetType = msgspec.UNSET


class CoordinatorAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /.well-known/compute-router``: the public half of the coordinator's key, and the
    versions of what it and its workers sign.
    """

    network: str
    coordinator_pubkey: str
    countersign: str
    receipts: str


class HealthAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer of ``GET /v1/health``. ``status`` is ``ok``, or ``degraded`` with its ``problems``.

    ``notes`` are things that the operator chose and that others should know.
    """

    status: str
    workers_online: int
    network: str
    timestamp: str
    problems: list[str] = []
    notes: list[str] = []
    limits: LimitsShown | None = None
    payments: PaymentsPublic | None = None


class ErrorAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of every answer with a status of 400 or above."""

    error: str
    message: str
    job_id: str | None = None


class TrustCreateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/trust/create``."""

    user_id: UserId


class TrustCreateAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A single-use code for pairing a worker with the user.

    ``user_token`` comes with the first code of a user: whoever has it owns the user's pairings from then on.
    """

    pairing_code: str
    expires_at: str
    user_token: str | None = None

    def __repr__(self) -> str:
        """Neither the code nor the token."""
        return f"TrustCreateAnswer(expires_at={self.expires_at!r})"


class TrustClaimRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Body of ``POST /v1/trust/claim``, sent by the worker's side.

    ``signature`` is by the worker's key over :func:`~compute_router.protocol.pairing.claim_message`.
    """

    pairing_code: Annotated[str, Meta(min_length=1, max_length=64)]
    provider_pubkey: PublicKeyHex
    signature: Annotated[str, Meta(max_length=128)] | None = None

    def __repr__(self) -> str:
        """Everything but the code and the signature over it."""
        return f"TrustClaimRequest(provider_pubkey={self.provider_pubkey!r})"


class TrustClaimAnswer(msgspec.Struct, frozen=True):
    """The pairing that was made."""

    user_id: str
    paired_at: str


class Provider(msgspec.Struct, frozen=True):
    """One worker paired with a user; ``signed`` says whether its key signed the claim."""

    provider_pubkey: str
    paired_at: str
    signed: bool = False


class TrustListAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/trust/list``."""

    providers: list[Provider]


class Worker(msgspec.Struct, frozen=True):
    """One connected worker. ``busy`` is how many of its ``slots`` hold a job, ``since`` when it registered.

    ``proven`` says that it proved that the key is its own. Without proof the key is a mere claim, and one key
    may be there several times. Of many ``models`` only the first are named.
    """

    provider_pubkey: str
    provider_type: ProviderType
    capabilities: list[JobType]
    models: list[str]
    slots: int
    busy: int
    proven: bool
    since: str


class WorkersAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/workers``. ``next_cursor`` asks for those that follow; null: there are none."""

    workers: list[Worker]
    next_cursor: str | None


class TrustRevokeAnswer(msgspec.Struct, frozen=True):
    """Answer of ``DELETE /v1/trust/{provider_pubkey}``: the pairing that is no more."""

    user_id: str
    provider_pubkey: str
    revoked_at: str


class TrackRecordAnswer(msgspec.Struct, frozen=True):
    """What a worker key did so far. ``mean_latency_ms`` is over its completed jobs, null before the first."""

    completed: int
    failed: int
    rejected: int
    lost: int
    bad_receipts: int
    mean_latency_ms: int | None
    audits_agreed: int
    audits_disagreed: int
    first_seen: str
    last_seen: str


class WorkerRecordAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/workers/{pubkey}``. ``score`` is from 0 to 1, ``band`` good, fair or poor.

    ``record`` is null for a key that has no record yet; then the score is that of a newcomer. A connection
    that did not prove its key never gets one.
    """

    provider_pubkey: str
    connected: bool
    proven: bool
    barred: bool
    barred_at: str | None
    barred_reason: str | None
    score: float
    band: str
    record: TrackRecordAnswer | None
