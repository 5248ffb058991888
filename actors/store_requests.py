"""What each request to the JobStore does, as plain functions over the storage interface."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from compute_router.actors.clock import Clock
from compute_router.actors.messages import (
    AssignmentRecorded,
    ClaimPairing,
    ClassifyLate,
    CompletionRecorded,
    CreatePairing,
    Deleted,
    DeleteFinished,
    Deliver,
    FindReplay,
    ForgetKeys,
    GetJob,
    InsertJob,
    JobEnded,
    KeepReceipt,
    ListPairings,
    LoadUnfinished,
    Message,
    NoteAlive,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
    RecordRequeued,
    RecordStarted,
    Recover,
)
from compute_router.protocol.errors import ReceiptError, ReceiptMalformedError, TooManyPairingsError
from compute_router.protocol.failures import Failure, failed_result
from compute_router.protocol.jobs import PrivacyClass
from compute_router.protocol.messages import ErrorFrame, JobAck, JobComplete
from compute_router.protocol.receipts import (
    SignedReceipt,
    decode_receipt,
    sha256_hex,
    verify_receipt,
    verify_signature,
)
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import JobView, Pairing, Replay, Store, StoredReceipt

MAX_PAIRINGS_PER_USER: Final = 64


def handle(store: Store, clock: Clock, request: Message) -> Any:
    """Carry out one request inside the caller's transaction and return its answer."""
    try:
        act = _ACTIONS[type(request)]
    except KeyError:
        raise TypeError(f"JobStore cannot handle {request!r}") from None
    return act(store, clock, request)


def _insert_job(store: Store, clock: Clock, request: InsertJob) -> tuple[str, ...] | Replay:
    replay = store.insert_job(request.job, request.key)
    if replay is not None:
        return replay
    if request.job.privacy_class is PrivacyClass.PRIVATE:
        return store.trusted_pubkeys(request.job.user_id)
    return ()


def _find_replay(store: Store, clock: Clock, request: FindReplay) -> Replay | None:
    return store.find_replay(request.user_id, request.key)


def _record_assigned(store: Store, clock: Clock, request: RecordAssigned) -> AssignmentRecorded:
    deadline = UnixMs(clock.unix_ms() + request.lease)
    payload = store.assign_job(request.job_id, request.attempt, request.pubkey, deadline)
    return AssignmentRecorded(request.job_id, request.attempt, payload)


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
    frame = request.frame
    output = bytes(frame.output)
    try:
        receipt = check_proof(frame, request.pubkey, output)
    except ReceiptError as error:
        return CompletionRecorded(
            request.worker_id, frame.job_id, request.attempt, None, reason=f"{error.code}: {error}"
        )
    now = clock.unix_ms()
    view = store.complete_job(frame.job_id, request.attempt, request.pubkey, output, now)
    if view is not None and receipt is not None:
        store.put_receipt(frame.job_id, receipt, now)
        view = msgspec.structs.replace(view, receipt=receipt)
    return CompletionRecorded(request.worker_id, frame.job_id, request.attempt, view)


def check_proof(frame: JobComplete, pubkey: str, output: bytes) -> StoredReceipt | None:
    """Check hash and signature of a completion; None when it brought no receipt.

    Raises:
        ReceiptError: the output does not have the stated hash, or the receipt does not prove it.
    """
    if frame.receipt is None or frame.receipt_signature is None:
        if sha256_hex(output) != frame.output_hash:
            raise ReceiptMalformedError("The output does not have the hash that came with it.")
        return None
    signed = SignedReceipt(bytes(frame.receipt), frame.receipt_signature)
    verify_receipt(signed, job_id=frame.job_id, output_json=output, provider_pubkey=pubkey)
    return StoredReceipt(
        provider_pubkey=pubkey,
        receipt_json=signed.receipt_json,
        signature=signed.signature,
        verified=True,
    )


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
    view = store.fail_job(request.job_id, request.attempt, request.result, clock.unix_ms())
    return JobEnded(request.job_id, view)


def _record_cancelled(store: Store, clock: Clock, request: RecordCancelled) -> JobEnded:
    result = failed_result(Failure.CANCELLED)
    return JobEnded(request.job_id, store.cancel_job(request.job_id, result, clock.unix_ms()))


def _note_alive(store: Store, clock: Clock, request: NoteAlive) -> None:
    store.note_alive(clock.unix_ms())


def _delete_finished(store: Store, clock: Clock, request: DeleteFinished) -> Deleted:
    return Deleted(request, store.delete_finished(request.before, request.limit))


def _forget_keys(store: Store, clock: Clock, request: ForgetKeys) -> Deleted:
    return Deleted(request, store.delete_idempotency_keys(request.before, request.limit))


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
    verified = _proves(request, view.result, receipt.output_hash)
    store.put_receipt(
        receipt.job_id,
        StoredReceipt(
            provider_pubkey=request.pubkey,
            receipt_json=request.receipt,
            signature=request.signature,
            verified=verified,
        ),
        clock.unix_ms(),
    )
    return None


def _proves(request: KeepReceipt, result: bytes, output_hash: str) -> bool:
    """Whether a receipt that came late proves the result that was kept."""
    try:
        verify_signature(request.pubkey, request.receipt, request.signature)
    except ReceiptError:
        return False
    return sha256_hex(result) == output_hash


class _Refusal(msgspec.Struct, frozen=True):
    worker_id: int

    def __call__(self, code: str, message: str) -> Deliver:
        return Deliver(self.worker_id, ErrorFrame(code, message))


def _get_job(store: Store, clock: Clock, request: GetJob) -> JobView | None:
    return store.job_view(request.job_id)


def _load_unfinished(store: Store, clock: Clock, request: LoadUnfinished) -> Recover:
    jobs = tuple(
        (job, store.trusted_pubkeys(job.user_id) if job.privacy_class is PrivacyClass.PRIVATE else ())
        for job in store.unfinished_jobs()
    )
    return Recover(jobs, store.last_alive() or clock.unix_ms())


def _create_pairing(store: Store, clock: Clock, request: CreatePairing) -> None:
    store.create_pairing(request.user_id, request.code, request.created_at, request.expires_at)


def _claim_pairing(store: Store, clock: Clock, request: ClaimPairing) -> Any:
    pairing = store.claim_pairing(request.code, request.pubkey, request.now)
    # A PRIVATE job stands in line for each key that its user trusts.
    if isinstance(pairing, Pairing) and len(store.trusted_pubkeys(pairing.user_id)) > MAX_PAIRINGS_PER_USER:
        raise TooManyPairingsError(f"A user can be paired with {MAX_PAIRINGS_PER_USER} workers at the most.")
    return pairing


def _list_pairings(store: Store, clock: Clock, request: ListPairings) -> Any:
    return store.pairings(request.user_id)


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
    ForgetKeys: _forget_keys,
    KeepReceipt: _keep_receipt,
    GetJob: _get_job,
    LoadUnfinished: _load_unfinished,
    CreatePairing: _create_pairing,
    ClaimPairing: _claim_pairing,
    ListPairings: _list_pairings,
}

READ_ONLY: Final[frozenset[type[Message]]] = frozenset({FindReplay, GetJob, ListPairings, LoadUnfinished})
"""Requests that change nothing, so that they can be served while the database cannot be written."""
