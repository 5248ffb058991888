"""What each request to the JobStore does, as plain functions over the storage interface."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from compute_router.actors.audits import AUDITOR, group
from compute_router.actors.clock import Clock
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import (
    AssignmentRecorded,
    ClassifyLate,
    CompletionRecorded,
    CreditUsedUp,
    Deleted,
    DeleteFinished,
    FindReplay,
    ForgetCodes,
    ForgetKeys,
    GetJob,
    GetReceipt,
    InsertJob,
    JobEnded,
    KeepReceipt,
    LoadUnfinished,
    NoteAlive,
    PaymentUsed,
    QuotaUsedUp,
    ReceiptFacts,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
    RecordRequeued,
    RecordStarted,
)
from compute_router.actors.messages.matcher import Recover
from compute_router.actors.messages.stored_trust import (
    AuditJudged,
    ClaimPairing,
    CreatePairing,
    DropAudits,
    InsertAudit,
    JudgeAudit,
    ListPairings,
    LoadApiKeys,
    LoadTrackRecords,
    LoadWorkerRecord,
    PutApiKey,
    PutWorkerRecords,
    RecordBarred,
    RevokeApiKey,
    RevokePairing,
    TrackRecordsLoaded,
    WorkerRecordLoaded,
)
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.actors.ownership import OwnerRefusal, refuse_owner
from compute_router.actors.payment_requests import (
    PAYMENT_ACTIONS,
    READ_ONLY_PAYMENT_REQUESTS,
    book_completion,
    book_failure,
    refuse_payment,
    reserve,
)
from compute_router.actors.proofs import MAX_EVIDENCE_PER_WORKER, check_proof, evidence_of
from compute_router.protocol.errors import (
    ReceiptError,
    ReceiptMalformedError,
    TooManyCodesError,
    TooManyPairingsError,
)
from compute_router.protocol.failures import Failure, failed_result
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import PrivacyClass
from compute_router.protocol.messages import ErrorFrame, JobAck
from compute_router.protocol.receipts import (
    Receipt,
    check_claims,
    decode_receipt,
    sha256_hex,
    verify_signature,
)
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import (
    LOCKED,
    ApiKey,
    JobView,
    Pairing,
    Replay,
    Store,
    StoredReceipt,
)

MAX_PAIRINGS_PER_USER: Final = 64
MAX_OPEN_CODES_PER_USER: Final = 16
# So long whoever comes with an expired code is told that it expired.
_DEAD_CODES_KEPT: Final = DurationMs(24 * 60 * 60 * 1000)
EVIDENCE_LIFETIME: Final = DurationMs(30 * 24 * 60 * 60 * 1000)
"""The least time that evidence is kept, also when jobs are deleted sooner."""


def handle(store: Store, clock: Clock, request: Message) -> Any:
    """Carry out one request inside the caller's transaction and return its answer."""
    try:
        act = _ACTIONS[type(request)]
    except KeyError:
        raise TypeError(f"JobStore cannot handle {request!r}") from None
    return act(store, clock, request)


def _insert_job(
    store: Store, clock: Clock, request: InsertJob
) -> tuple[str, ...] | Replay | QuotaUsedUp | PaymentUsed | CreditUsedUp:
    payment = request.payment
    if request.quota is not None or payment is not None:
        # A repeated commit makes no job, so it is answered first and neither counted nor paid.
        earlier = store.find_replay(request.job.user_id, request.key) if request.key else None
        if earlier is not None:
            return earlier
        refusal = None if payment is None else refuse_payment(store, payment)
        if refusal is not None:
            return refusal
        if request.quota is not None and not store.count_key_job(request.quota):
            return QuotaUsedUp()
    if payment is None:
        replay = store.insert_job(request.job, request.key)
        if replay is not None:
            return replay
        if request.refused is not None:
            store.fail_job(request.job.job_id, 0, request.refused, clock.unix_ms())
    else:
        store.insert_job(request.job, request.key, paid=True)
        reserve(store, request, payment, clock.unix_ms())
    if request.job.privacy_class is PrivacyClass.PRIVATE:
        return store.trusted_pubkeys(request.job.user_id)
    return ()


def _find_replay(store: Store, clock: Clock, request: FindReplay) -> Replay | None:
    return store.find_replay(request.user_id, request.key)


def _record_assigned(store: Store, clock: Clock, request: RecordAssigned) -> AssignmentRecorded:
    deadline = UnixMs(clock.unix_ms() + request.lease)
    payload = store.assign_job(request.job_id, request.attempt, request.pubkey, deadline)
    request_hash = None if payload is None else sha256_hex(payload)
    return AssignmentRecorded(request.job_id, request.attempt, payload, request_hash)


def _record_started(store: Store, clock: Clock, request: RecordStarted) -> None:
    store.start_job(request.job_id, request.attempt)


def _record_requeued(store: Store, clock: Clock, request: RecordRequeued) -> None:
    window_ends = UnixMs(clock.unix_ms() + request.window)
    store.requeue_job(
        request.job_id,
        request.attempt,
        request.reason,
        window_ends,
        keep_tried=request.keep_tried,
        counts=request.counts,
    )


def _record_completion(store: Store, clock: Clock, request: RecordCompletion) -> CompletionRecorded:
    job_id, attempt = request.frame.job_id, request.attempt
    output = bytes(request.frame.output)
    output_hash = sha256_hex(output)
    now = clock.unix_ms()
    try:
        receipt = check_proof(request, output_hash, lambda: _request_hash(store, job_id))
    except ReceiptError as error:
        evidence = evidence_of(request, output_hash, error, now)
        if evidence is not None:
            store.put_evidence(evidence, MAX_EVIDENCE_PER_WORKER)
        reason = f"{error.code}: {error}"
        return CompletionRecorded(request.worker_id, job_id, attempt, None, reason=reason)
    view = store.complete_job(job_id, attempt, request.pubkey, output, now)
    if view is not None and receipt is not None:
        if view.payment is not None:
            receipt = msgspec.structs.replace(receipt, payment_ref=view.payment.transaction_ref)
        store.put_receipt(job_id, receipt, now)
        view = msgspec.structs.replace(view, receipt=receipt)
    if view is not None and view.payment is not None:
        view = book_completion(store, view, request.pubkey, now)
    return CompletionRecorded(request.worker_id, job_id, attempt, view)


def _request_hash(store: Store, job_id: str) -> str | None:
    payload = store.job_payload(job_id)
    return None if payload is None else sha256_hex(payload)


def _classify_late(store: Store, clock: Clock, request: ClassifyLate) -> Deliver:
    view = store.job_view(request.job_id)
    if view is None:
        return Deliver(request.worker_id, ErrorFrame("UNKNOWN_JOB", "There is no job with this id."))
    completed_by = store.completed_by(request.job_id)
    attempt = request.attempt if request.attempt is not None else (completed_by or ("", 0))[1]
    own = completed_by == (request.pubkey, attempt)
    # Whoever is told that an output is accepted must find that very output stored.
    kept = own and view.result is not None and sha256_hex(view.result) == request.output_hash
    status = "accepted" if kept else "stale"
    return Deliver(request.worker_id, JobAck(request.job_id, status, attempt=request.attempt))


def _record_failed(store: Store, clock: Clock, request: RecordFailed) -> JobEnded:
    now = clock.unix_ms()
    view = store.fail_job(request.job_id, request.attempt, request.result, now)
    if view is not None and view.payment is not None:
        view = book_failure(store, view, now)
    return JobEnded(request.job_id, view)


def _record_cancelled(store: Store, clock: Clock, request: RecordCancelled) -> JobEnded:
    now = clock.unix_ms()
    view = store.cancel_job(request.job_id, failed_result(Failure.CANCELLED), now)
    if view is not None and view.payment is not None:
        view = book_failure(store, view, now)
    return JobEnded(request.job_id, view)


def _note_alive(store: Store, clock: Clock, request: NoteAlive) -> None:
    store.note_alive(clock.unix_ms())


def _delete_finished(store: Store, clock: Clock, request: DeleteFinished) -> Deleted:
    oldest_evidence = UnixMs(min(request.before, clock.unix_ms() - EVIDENCE_LIFETIME))
    store.delete_evidence(oldest_evidence, request.limit)
    return Deleted(request, store.delete_finished(request.before, request.limit))


def _forget_keys(store: Store, clock: Clock, request: ForgetKeys) -> Deleted:
    return Deleted(request, store.delete_idempotency_keys(request.before, request.limit))


def _forget_codes(store: Store, clock: Clock, request: ForgetCodes) -> Deleted:
    before = UnixMs(clock.unix_ms() - _DEAD_CODES_KEPT)
    return Deleted(request, store.delete_dead_codes(before, request.limit))


def _keep_receipt(store: Store, clock: Clock, request: KeepReceipt) -> Deliver | None:
    refuse = _Refusal(request.worker_id)
    try:
        receipt = decode_receipt(request.receipt)
    except ReceiptMalformedError as error:
        return refuse("RECEIPT_MALFORMED", str(error))
    completed_by = store.completed_by(receipt.job_id)
    if completed_by is None:
        return refuse("UNKNOWN_JOB", "The receipt names no completed job.")
    if not completed_by[0] == receipt.provider_pubkey == request.pubkey:
        return refuse("RECEIPT_MISMATCH", "The receipt is not about a job of this worker.")
    view = store.job_view(receipt.job_id)
    assert view is not None
    assert view.result is not None
    verified = _proves(store, request, receipt, view.result, completed_by[1])
    store.put_receipt(
        receipt.job_id,
        StoredReceipt(
            provider_pubkey=request.pubkey,
            receipt_json=request.receipt,
            signature=request.signature,
            verified=verified,
            payment_ref=None if view.payment is None else view.payment.transaction_ref,
        ),
        clock.unix_ms(),
    )
    return None


def _proves(store: Store, request: KeepReceipt, receipt: Receipt, result: bytes, attempt: int) -> bool:
    """Whether a receipt that came late proves the result that was kept."""
    try:
        check_claims(
            receipt,
            job_id=receipt.job_id,
            output_hash=sha256_hex(result),
            request_hash=_request_hash(store, receipt.job_id),
            attempt=attempt,
        )
        verify_signature(request.pubkey, request.receipt, request.signature)
    except ReceiptError:
        return False
    return True


class _Refusal(msgspec.Struct, frozen=True):
    worker_id: int

    def __call__(self, code: str, message: str) -> Deliver:
        return Deliver(self.worker_id, ErrorFrame(code, message))


def _get_job(store: Store, clock: Clock, request: GetJob) -> JobView | None:
    return store.job_view(request.job_id)


def _get_receipt(store: Store, clock: Clock, request: GetReceipt) -> ReceiptFacts | None:
    view = store.job_view(request.job_id)
    if view is None:
        return None
    completed_by = store.completed_by(request.job_id)
    if completed_by is None or view.result is None:
        return ReceiptFacts(view, None, None)
    return ReceiptFacts(view, sha256_hex(view.result), completed_by[0])


def _load_unfinished(store: Store, clock: Clock, request: LoadUnfinished) -> Recover:
    jobs = tuple(
        (job, store.trusted_pubkeys(job.user_id) if job.privacy_class is PrivacyClass.PRIVATE else ())
        for job in store.unfinished_jobs()
        # While the disk fails they may not have been dropped yet.
        if job.user_id != AUDITOR
    )
    return Recover(jobs, store.last_alive() or clock.unix_ms())


def _create_pairing(store: Store, clock: Clock, request: CreatePairing) -> bool | OwnerRefusal:
    user_id, now = request.user_id, request.created_at
    owner = store.owner(user_id)
    if owner is not None:
        refusal = refuse_owner(request.proof, owner)
        if refusal is not None:
            return refusal
    elif not request.proof.vouched and store.trusted_pubkeys(user_id):
        # Whoever owned it could pair a worker of his own with somebody else's user.
        return OwnerRefusal.LOCKED
    if store.open_codes(user_id, now) >= MAX_OPEN_CODES_PER_USER:
        raise TooManyCodesError(
            f"A user can have {MAX_OPEN_CODES_PER_USER} unused pairing codes; each ends within the hour."
        )
    became_owned = request.new_owner is not None and store.put_owner(user_id, request.new_owner, now)
    if request.new_owner is None and request.proof.vouched:
        store.put_owner(user_id, LOCKED, now)
    store.create_pairing(user_id, request.code, now, request.expires_at)
    return became_owned


def _claim_pairing(store: Store, clock: Clock, request: ClaimPairing) -> Any:
    pairing = store.claim_pairing(request.code, request.pubkey, request.now, signed=request.signed)
    # A PRIVATE job stands in line for each key that its user trusts.
    if isinstance(pairing, Pairing) and len(store.trusted_pubkeys(pairing.user_id)) > MAX_PAIRINGS_PER_USER:
        raise TooManyPairingsError(f"A user can be paired with {MAX_PAIRINGS_PER_USER} workers at the most.")
    return pairing


def _list_pairings(store: Store, clock: Clock, request: ListPairings) -> tuple[Pairing, ...] | OwnerRefusal:
    # Clients that know no tokens may list, too; but who shows a token means to be the owner.
    if request.proof.token_hash is not None:
        refusal = refuse_owner(request.proof, store.owner(request.user_id))
        if refusal is not None:
            return refusal
    return store.pairings(request.user_id)


def _revoke_pairing(store: Store, clock: Clock, request: RevokePairing) -> bool | OwnerRefusal:
    refusal = refuse_owner(request.proof, store.owner(request.user_id))
    return refusal or store.revoke_pairing(request.user_id, request.pubkey)


def _load_api_keys(store: Store, clock: Clock, request: LoadApiKeys) -> tuple[ApiKey, ...]:
    return store.api_keys()


def _put_api_key(store: Store, clock: Clock, request: PutApiKey) -> None:
    store.put_api_key(request.key)


def _revoke_api_key(store: Store, clock: Clock, request: RevokeApiKey) -> bool:
    return store.revoke_api_key(request.key_id, request.now)


def _load_track_records(store: Store, clock: Clock, request: LoadTrackRecords) -> TrackRecordsLoaded:
    records = store.worker_records(request.limit + 1)
    return TrackRecordsLoaded(records[: request.limit], len(records) <= request.limit, store.barred_workers())


def _drop_audits(store: Store, clock: Clock, request: DropAudits) -> None:
    # Nobody remembers what these were for.
    store.drop_audits(failed_result(Failure.NO_ELIGIBLE_WORKER), clock.unix_ms())


def _load_worker_record(store: Store, clock: Clock, request: LoadWorkerRecord) -> WorkerRecordLoaded:
    return WorkerRecordLoaded(request.pubkey, store.worker_record(request.pubkey))


def _put_worker_records(store: Store, clock: Clock, request: PutWorkerRecords) -> None:
    for record in request.records:
        store.put_worker_record(record)


def _record_barred(store: Store, clock: Clock, request: RecordBarred) -> None:
    store.bar_worker(request.pubkey, request.reason, clock.unix_ms())


def _insert_audit(store: Store, clock: Clock, request: InsertAudit) -> None:
    now = clock.unix_ms()
    store.insert_audit(request.job_id, request.audit_of, AUDITOR, now, request.window, request.lease)


def _judge_audit(store: Store, clock: Clock, request: JudgeAudit) -> AuditJudged:
    views = [store.job_view(job_id) for job_id in request.job_ids]
    outputs = [view.result for view in views if view is not None and view.status is JobStatus.COMPLETED]
    complete = [output for output in outputs if output is not None]
    return AuditJudged(request.job_id, group(complete) if len(complete) == len(views) else ())


_ACTIONS: Final[dict[type[Message], Any]] = {
    InsertJob: _insert_job,
    FindReplay: _find_replay,
    RecordAssigned: _record_assigned,
    RecordStarted: _record_started,
    RecordRequeued: _record_requeued,
    RecordCompletion: _record_completion,
    ClassifyLate: _classify_late,
    RecordFailed: _record_failed,
    RecordCancelled: _record_cancelled,
    NoteAlive: _note_alive,
    DeleteFinished: _delete_finished,
    ForgetCodes: _forget_codes,
    ForgetKeys: _forget_keys,
    KeepReceipt: _keep_receipt,
    GetJob: _get_job,
    GetReceipt: _get_receipt,
    LoadUnfinished: _load_unfinished,
    CreatePairing: _create_pairing,
    ClaimPairing: _claim_pairing,
    ListPairings: _list_pairings,
    RevokePairing: _revoke_pairing,
    DropAudits: _drop_audits,
    LoadTrackRecords: _load_track_records,
    LoadWorkerRecord: _load_worker_record,
    PutWorkerRecords: _put_worker_records,
    RecordBarred: _record_barred,
    InsertAudit: _insert_audit,
    JudgeAudit: _judge_audit,
    LoadApiKeys: _load_api_keys,
    PutApiKey: _put_api_key,
    RevokeApiKey: _revoke_api_key,
    **PAYMENT_ACTIONS,
}

READ_ONLY: Final[frozenset[type[Message]]] = READ_ONLY_PAYMENT_REQUESTS | {
    LoadTrackRecords,
    LoadWorkerRecord,
    FindReplay,
    GetJob,
    GetReceipt,
    ListPairings,
    LoadApiKeys,
    LoadUnfinished,
}
"""Requests that change nothing, so that they can be served while the database cannot be written."""
