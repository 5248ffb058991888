"""What the actors tell each other. All messages are frozen; no message carries anything mutable."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec
import pykka

from compute_router.actors.ownership import OwnerProof
from compute_router.actors.ports import WorkerConnection
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, ProviderType, Tier
from compute_router.protocol.messages import (
    Frame,
    HeldJob,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
    WorkerFrame,
)
from compute_router.protocol.payments import (
    NewPayment,
    NotSettled,
    Payment,
    PaymentView,
    Payout,
    PayoutAddress,
    Refused,
    Settled,
    StillOpen,
    Unknown,
)
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.protocol.receipts import Receipt
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.interface import (
    ApiKey,
    DayQuota,
    IdempotencyKey,
    JobView,
    NewJob,
    UnfinishedJob,
    WorkerRecord,
)


class Message(msgspec.Struct, frozen=True, gc=False):
    """Base of all messages."""


# To the WorkerRegistry


class SocketOpened(Message, frozen=True):
    """A worker's WebSocket is open; nothing was said yet."""

    connection: WorkerConnection


class SocketClosed(Message, frozen=True):
    """A worker's WebSocket is gone."""

    worker_id: int


class FrameArrived(Message, frozen=True):
    """A well-formed frame came in."""

    worker_id: int
    frame: WorkerFrame


class Deliver(Message, frozen=True):
    """Send a frame to a worker, if it is still there."""

    worker_id: int
    frame: Frame


class HeartbeatDue(Message, frozen=True):
    """Time to look whether a worker has been silent for too long."""

    worker_id: int


class SettleDue(Message, frozen=True):
    """A worker that did not prove itself has been registered long enough to be given jobs."""

    worker_id: int


class BarKey(Message, frozen=True):
    """Close every connection of a key, and let none of it register from now on."""

    pubkey: str
    reason: str


class BarredKeys(Message, frozen=True):
    """The keys that an earlier run barred."""

    pubkeys: tuple[str, ...]


class CountWorkers(Message, frozen=True):
    """Ask: how many workers are registered. Answer: int."""


class CloseAllSockets(Message, frozen=True):
    """Close every worker's socket with 1001 (RFC 6455: going away)."""


# To the Matcher


class Submit(Message, frozen=True):
    """A job is stored and wants a worker. Ask or tell; the answer is whether it was taken in.

    ``trusted`` are the user's paired keys, for PRIVATE jobs. A job that is not taken in has no eligible
    trusted worker connected; whoever asked must then end it.
    """

    job: NewJob
    trusted: tuple[str, ...] = ()


class Reserve(Message, frozen=True):
    """Ask: is there room for one more job of this user? Answer: None, or the Refusal.

    ``at_once`` is how many unfinished jobs of the user the API key allows, or None.
    """

    user_id: str
    at_once: int | None = None


class CanServe(Message, frozen=True):
    """Ask: is a worker connected that may run this PRIVATE job? Answer: bool."""

    job: NewJob
    trusted: tuple[str, ...]


class GiveBack(Message, frozen=True):
    """A reserved place is not needed: the job was not stored, or was stored before."""

    user_id: str


class Cancel(Message, frozen=True):
    """Ask: end this job, its owner wants it no more. Answer: whether it was unfinished.

    If it was, its end will be published; a completion that came first wins. With ``user_id``, the jobs of
    others count as unknown.
    """

    job_id: str
    user_id: str | None = None


class StartDrain(Message, frozen=True):
    """Take no more jobs and give none out; call ``on_idle`` when no worker holds one."""

    on_idle: Callable[[], None]


class Recover(Message, frozen=True):
    """Jobs that a restart found unfinished, each with its user's trusted keys.

    ``alive_until`` is when the earlier run was last known to run; deadlines stood still from then on.
    """

    jobs: tuple[tuple[UnfinishedJob, tuple[str, ...]], ...]
    alive_until: UnixMs


class IsLive(Message, frozen=True):
    """Ask: is this job unfinished, and this user's if one is named? Answer: bool."""

    job_id: str
    user_id: str | None = None


class Follow(Message, frozen=True):
    """Ask: have every step of a job published from now on. Answer: its Progress, or None if it has ended.

    With ``user_id``, the jobs of others count as unknown.
    """

    job_id: str
    user_id: str | None = None


class WorkerOnline(Message, frozen=True):
    """A worker registered, or registered anew on the same socket with other abilities."""

    worker_id: int
    pubkey: str
    provider_type: ProviderType
    job_types: frozenset[JobType]
    models: tuple[str, ...]
    slots: int
    proven: bool
    held: tuple[HeldJob, ...]
    instance: str | None = None
    features: frozenset[str] = frozenset()


class WorkerSettled(Message, frozen=True):
    """A registered worker may be given jobs from now on."""

    worker_id: int


class WorkerOffline(Message, frozen=True):
    """A worker's connection is gone."""

    worker_id: int


class WorkerDraining(Message, frozen=True):
    """A worker wants no more jobs."""

    worker_id: int


class LeasesRenewed(Message, frozen=True):
    """A heartbeat named the attempts that its worker is working on."""

    worker_id: int
    jobs: tuple[HeldJob, ...]


class SlotFreed(Message, frozen=True):
    """A worker that does not know cancels has had long enough for a job that was taken from it."""

    worker_id: int
    job_id: str


class WorkerSaid(Message, frozen=True):
    """A registered worker said something about a job."""

    worker_id: int
    pubkey: str
    proven: bool
    frame: JobStarted | JobChunk | JobComplete | JobFailed | JobReject


class TrustGranted(Message, frozen=True):
    """A user paired with a worker key."""

    user_id: str
    pubkey: str


class TrustRevoked(Message, frozen=True):
    """A user no longer trusts a worker key."""

    user_id: str
    pubkey: str


class ListWorkers(Message, frozen=True):
    """Ask: up to ``limit`` connected workers whose connection comes after ``after``. Answer: WorkersPage."""

    after: int
    limit: int


class ConnectedWorker(Message, frozen=True):
    """What everybody may know of a connection; ``busy`` is how many of its slots hold a job."""

    pubkey: str
    provider_type: ProviderType
    job_types: frozenset[JobType]
    models: tuple[str, ...]
    slots: int
    busy: int
    proven: bool
    since: UnixMs


class WorkersPage(Message, frozen=True):
    """Some connected workers; ``last`` is what to ask on from, None when there are no more."""

    workers: tuple[ConnectedWorker, ...]
    last: int | None


class FindStanding(Message, frozen=True):
    """Ask: what is known of a worker key at the moment. Answer: :class:`WorkerStanding`."""

    pubkey: str


class WorkerStanding(Message, frozen=True):
    """Whether a key is connected and proven, and its record; None when only the store can know it."""

    connected: bool
    proven: bool
    record: WorkerRecord | None


class FlushRecords(Message, frozen=True):
    """Time to have the changed track records stored."""


class JobTimer(Message, frozen=True):
    """A deadline that was set for a job is over; it only counts if the job is still where it was."""

    job_id: str
    attempt: int
    waiting: bool


class Sweep(Message, frozen=True):
    """Look through the waiting jobs again."""


# To the JobStore, which answers each with the message or value named


class StoreRequest(Message, frozen=True):
    """A request told to the JobStore by another actor; its answer is told back to ``reply_to``."""

    body: Message
    reply_to: pykka.ActorRef[Any] | None = None


class InsertJob(Message, frozen=True):
    """Keep a new job. Answer: the trusted keys of its user if it is PRIVATE, else an empty tuple.

    If its idempotency key was used before, nothing is kept, and the answer is the Replay. If the API key has
    used up its ``quota``, nothing is kept, and the answer is :class:`QuotaUsedUp`.

    A ``payment`` is kept together with the job or not at all. If it was used before, nothing is kept, and the
    answer is :class:`PaymentUsed`; if it spends a credit that is not there or too small,
    :class:`CreditUsedUp`.
    """

    job: NewJob
    key: IdempotencyKey | None = None
    quota: DayQuota | None = None
    payment: NewPayment | None = None


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


class CreatePairing(Message, frozen=True):
    """Ask: keep a pairing code. Answer: whether the user got its owner by this, or OwnerRefusal.

    A user without an owner is owned from then on by whoever has the token of ``new_owner``, its SHA-256 hex;
    if that is None and the caller is vouched for, the user is locked.
    """

    user_id: str
    code: str
    created_at: UnixMs
    expires_at: UnixMs
    proof: OwnerProof = OwnerProof()
    new_owner: str | None = None


class ClaimPairing(Message, frozen=True):
    """Ask: use a pairing code. Answer: Pairing or ClaimRefusal."""

    code: str
    pubkey: str
    now: UnixMs
    signed: bool = False


class ListPairings(Message, frozen=True):
    """Ask: a user's pairings. Answer: tuple of Pairing, or OwnerRefusal if a wrong token came with it."""

    user_id: str
    proof: OwnerProof = OwnerProof()


class RevokePairing(Message, frozen=True):
    """Ask: end a user's trust in a key. Answer: whether there was any, or OwnerRefusal."""

    user_id: str
    pubkey: str
    proof: OwnerProof


class LoadApiKeys(Message, frozen=True):
    """Ask: every API key. Answer: tuple of ApiKey, oldest first."""


class PutApiKey(Message, frozen=True):
    """Ask: keep a new API key."""

    key: ApiKey


class RevokeApiKey(Message, frozen=True):
    """Ask: note that an API key may be used no more. Answer: whether it could be used until now."""

    key_id: str
    now: UnixMs


class LoadTrackRecords(Message, frozen=True):
    """Ask: up to ``limit`` track records, and the barred keys. Answer: :class:`TrackRecordsLoaded`."""

    limit: int


class DropAudits(Message, frozen=True):
    """End the repetitions of jobs that the last run left unfinished. Told once, at the start. No answer."""


class TrackRecordsLoaded(Message, frozen=True):
    """The newest track records; ``all_of_them`` is false if there are more. ``barred`` is complete."""

    records: tuple[WorkerRecord, ...]
    all_of_them: bool
    barred: tuple[str, ...]


class LoadWorkerRecord(Message, frozen=True):
    """Find the record of one worker key. Answer: :class:`WorkerRecordLoaded`."""

    pubkey: str


class WorkerRecordLoaded(Message, frozen=True):
    """What is stored of a worker key, if anything is."""

    pubkey: str
    record: WorkerRecord | None


class PutWorkerRecords(Message, frozen=True):
    """Keep track records in place of earlier ones. No answer."""

    records: tuple[WorkerRecord, ...]


class RecordBarred(Message, frozen=True):
    """A key may not take part any more. No answer."""

    pubkey: str
    reason: str


class InsertAudit(Message, frozen=True):
    """Keep a job that repeats the completed job ``audit_of``. No answer."""

    job_id: str
    audit_of: str
    window: DurationMs
    lease: DurationMs


class JudgeAudit(Message, frozen=True):
    """Compare the outputs of jobs, the first of which is audited. Answer: :class:`AuditJudged`."""

    job_id: str
    job_ids: tuple[str, ...]


class AuditJudged(Message, frozen=True):
    """A number for each output, equal for equal ones; none at all if one of them is not there any more."""

    job_id: str
    groups: tuple[int, ...]


# Credits and earnings, kept by the JobStore


class FindPayment(Message, frozen=True):
    """Ask: the payment with this id, whatever became of it. Answer: Payment or None."""

    payment_id: str


class FindCredit(Message, frozen=True):
    """Ask: the credit with this hash of its token. Answer: Credit or None."""

    token_hash: str


class GetEarnings(Message, frozen=True):
    """Ask: what a worker earned, with up to ``limit`` payouts, newest first.

    Answer: :class:`WorkerEarnings`.
    """

    pubkey: str
    limit: int


class WorkerEarnings(Message, frozen=True):
    """All zero for a key that earned nothing yet."""

    pubkey: str
    earned: MicroUsd
    paid_out: MicroUsd
    under_way: MicroUsd
    address: PayoutAddress | None
    payouts: tuple[Payout, ...]


class PutPayoutAddress(Message, frozen=True):
    """Keep where a worker wants its earnings, unless a newer address is kept. Answer: nothing."""

    address: PayoutAddress


class PayoutAddressNamed(Message, frozen=True):
    """A worker that proved its key named, and signed, where it wants its earnings. To the WorkerRegistry."""

    pubkey: str
    address: str


class TellWorker(Message, frozen=True):
    """To the WorkerRegistry: send a frame to the proven connection of a key, if there is one."""

    pubkey: str
    frame: Frame


class ListPayable(Message, frozen=True):
    """Ask: up to ``limit`` workers owed at least ``threshold``, most first. Answer: tuple of Payable.

    Workers without a payout address, and those with an open payout, are left out.
    """

    threshold: MicroUsd
    limit: int


class RecordPayouts(Message, frozen=True):
    """Ask: record a payout for each worker that :class:`ListPayable` names. Answer: tuple of Payout."""

    threshold: MicroUsd
    limit: int


class LoadOpenPayouts(Message, frozen=True):
    """Ask: every payout that is recorded, sent or unknown, oldest first. Answer: tuple of Payout."""


class RecordPayout(Message, frozen=True):
    """Ask: an event of a payout. Answer: the Payout as it is now; None if the event was not possible.

    ``SEND`` needs the signed transaction and its reference, which are durable before anything is sent.
    """

    payout_id: str
    event: PayoutEvent
    transaction_data: str | None = None
    transaction_ref: str | None = None
    reason: str | None = None


# Also to the JobStore: the steps of a payment


class RecordPaymentAsked(Message, frozen=True):
    """Settlement is about to be asked for. Answer: :class:`PaymentRecorded`."""

    payment_id: str


class RecordPaymentConfirmed(Message, frozen=True):
    """The money came. Answer: :class:`PaymentRecorded`.

    If the job failed meanwhile, the payment is credited at once.
    """

    payment_id: str
    transaction_ref: str


class RecordPaymentRefused(Message, frozen=True):
    """The money will not come. Answer: :class:`PaymentRecorded`."""

    payment_id: str
    reason: str


class RecordPaymentLostTrack(Message, frozen=True):
    """Nobody knows whether the money comes. Answer: :class:`PaymentRecorded`."""

    payment_id: str
    reason: str


class RecordPaymentReleased(Message, frozen=True):
    """The money will never be asked for. Answer: :class:`PaymentRecorded`.

    The end of a job without an output does this by itself to a reserved payment, in its own transaction.
    """

    payment_id: str


class RecordPaymentCredited(Message, frozen=True):
    """The money came for a job that failed. Answer: :class:`PaymentRecorded`.

    The end of such a job, or the coming of its money, does this by itself. Of another job nothing moves.
    """

    payment_id: str


class PaymentRecorded(Message, frozen=True):
    """How a payment stands now, whether the step was possible or not; None: there is no such payment.

    ``view`` is its job with that payment, if the job has ended.
    """

    payment_id: str
    payment: PaymentView | None
    view: JobView | None = None


class LoadOpenPayments(Message, frozen=True):
    """Ask: every payment that is not decided. Answer: :class:`OpenPayments`.

    Settled ones are among them while their job is unfinished.
    """


class OpenPayment(Message, frozen=True):
    """A payment that is not at its end, and where its job stands."""

    payment: Payment
    job_status: JobStatus


class OpenPayments(Message, frozen=True):
    """What a restart finds, first to expire first. ``ledger_sum`` is zero, unless the ledger is damaged."""

    payments: tuple[OpenPayment, ...]
    ledger_sum: MicroUsd


# To the RetryScheduler


class SetTimer(Message, frozen=True):
    """Tell ``message`` to the sender after ``delay``; a timer of the same key is replaced."""

    key: str
    delay: DurationMs
    message: Message


class CancelTimer(Message, frozen=True):
    """Forget a timer; unknown keys are ignored, because the timer may just have fired."""

    key: str


class ArmTimer(Message, frozen=True):
    """A :class:`SetTimer` together with the actor that wants it."""

    timer: SetTimer
    target: pykka.ActorRef[Any]


class Tick(Message, frozen=True):
    """The earliest timer is due."""


# To the Janitor


class CleanUp(Message, frozen=True):
    """Time to look for things that are too old."""


# To the PaymentGate


class Admit(Message, frozen=True):
    """Ask: may this job be stored? Answer: nothing, or a raised error."""

    tier: Tier
    job_type: JobType


class HoldFunds(Message, frozen=True):
    """Ask: may this payer owe so much more? Answer: None, or the :class:`FundsRefusal`.

    ``balance`` is what the chain says the payer has, None if it cannot be read. Until :class:`JobCommitted`
    or :class:`DropFunds` names the same job, the amount counts as the payer's debt.
    """

    job_id: str
    payment_id: str
    payer: str
    amount: MicroUsd
    balance: MicroUsd | None


class FundsRefusal(Enum):
    """Why a payment cannot be taken: debts exceed the balance, or the limit for when it cannot be read."""

    BALANCE_TOO_LOW = "balance_too_low"
    TOO_MUCH_UNSETTLED = "too_much_unsettled"


class DropFunds(Message, frozen=True):
    """The job that funds were held for was not stored."""

    job_id: str


class JobCommitted(Message, frozen=True):
    """A job and its payment are stored. Told before the job is submitted to the Matcher."""

    job_id: str
    payment: NewPayment


class AwaitsPayment(Message, frozen=True):
    """Ask: has this job ended and is not told yet, because its payment is undecided? Answer: bool."""

    job_id: str


class PaymentDue(Message, frozen=True):
    """Time to look at a payment again."""

    payment_id: str


class SettleAnswered(Message, frozen=True):
    """What the facilitator said to a settlement."""

    payment_id: str
    answer: Settled | Refused | Unknown


class OutcomeRead(Message, frozen=True):
    """What the chain says of a payment; Unknown if it could not be read."""

    payment_id: str
    outcome: Settled | NotSettled | StillOpen | Unknown


class ProbeDue(Message, frozen=True):
    """Time to see whether the facilitator is well again."""


class FacilitatorProbed(Message, frozen=True):
    """How the facilitator is: None when it is well, else the problem."""

    problem: str | None


class DrainPayments(Message, frozen=True):
    """Call ``on_idle`` when no settlement is under way or due at once."""

    on_idle: Callable[[], None]


# From the PaymentGate's decisions to whoever carries them out


class AskSettle(Message, frozen=True):
    """Have the facilitator settle a payment; the answer comes as :class:`SettleAnswered`."""

    payment: Payment


class AskOutcome(Message, frozen=True):
    """Look up on the chain what became of a payment; the answer comes as :class:`OutcomeRead`."""

    payment: Payment


class AskHealth(Message, frozen=True):
    """See how the facilitator is; the answer comes as :class:`FacilitatorProbed`."""


class ReportPayments(Message, frozen=True):
    """A standing problem of payments for the health board, or None any more."""

    problem: str | None


# To the edge


class PublishJob(Message, frozen=True):
    """A job ended: tell whoever waits for it."""

    view: JobView


class Progress(Message, frozen=True):
    """Where an unfinished job that somebody follows stands now."""

    job_id: str
    status: JobStatus
    attempt: int


class Chunk(Message, frozen=True):
    """A piece of output of a job that somebody follows. Pieces of an earlier attempt are void."""

    job_id: str
    attempt: int
    seq: int
    delta: str


class CloseSocket(Message, frozen=True):
    """Close one worker's connection."""

    worker_id: int
    code: int
    reason: str
