"""Whether a completion is proven, and what is kept against its worker when the proof is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from compute_router.actors.messages.job_store import RecordCompletion
from compute_router.protocol.errors import (
    BadSignatureError,
    OutputHashMismatchError,
    ReceiptError,
    ReceiptMalformedError,
    ReceiptMissingError,
)
from compute_router.protocol.receipts import (
    MAX_RECEIPT_BYTES,
    check_claims,
    decode_receipt,
    verify_signature,
)
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import Evidence, StoredReceipt

MAX_EVIDENCE_PER_WORKER: Final = 100
"""What comes after that says nothing new about a worker, and must not fill the disk."""

FindRequestHash = Callable[[], str | None]
"""Answers the SHA-256 hex of the job's payload; asked only if a receipt names one and nobody knows it."""


def check_proof(
    request: RecordCompletion, output_hash: str, find_request_hash: FindRequestHash
) -> StoredReceipt | None:
    """Check what came with an output whose SHA-256 hex is ``output_hash``; None when no receipt did.

    Raises:
        ReceiptError: the output does not have the stated hash, or the receipt is missing or does not prove
            it.
    """
    frame = request.frame
    if frame.receipt is None and request.receipt_required:
        raise ReceiptMissingError("The result came without a receipt.")
    if output_hash != frame.output_hash:
        raise OutputHashMismatchError("The output does not have the hash that came with it.")
    if frame.receipt is None:
        return None
    if frame.receipt_signature is None:
        raise ReceiptMalformedError("The receipt has no signature.")
    receipt_json = bytes(frame.receipt)
    receipt = request.receipt or decode_receipt(receipt_json)
    request_hash = request.request_hash
    if request_hash is None and receipt.request_hash is not None:
        request_hash = find_request_hash()
    check_claims(
        receipt,
        job_id=frame.job_id,
        output_hash=output_hash,
        provider_pubkey=request.pubkey,
        request_hash=request_hash,
        attempt=request.attempt,
    )
    verify_signature(request.pubkey, receipt_json, frame.receipt_signature)
    return StoredReceipt(
        provider_pubkey=request.pubkey,
        receipt_json=receipt_json,
        signature=frame.receipt_signature,
        verified=True,
    )


def evidence_of(
    request: RecordCompletion, output_hash: str, error: ReceiptError, now: UnixMs
) -> Evidence | None:
    """What to keep against the worker of a completion that was refused, or None.

    Only what surely came from the key: over a connection that proved it, or with its signature. Otherwise
    anybody could have evidence kept against somebody else. A missing receipt is no lie.
    """
    if isinstance(error, ReceiptMissingError) or not (request.proven or _signed_by_key(request)):
        return None
    frame = request.frame
    receipt_json = None if frame.receipt is None else bytes(frame.receipt)
    if receipt_json is not None and len(receipt_json) > MAX_RECEIPT_BYTES:
        receipt_json = None
    return Evidence(
        job_id=frame.job_id,
        attempt=request.attempt,
        worker_pubkey=request.pubkey,
        reason=error.code,
        output_hash=output_hash,
        receipt_json=receipt_json,
        signature=frame.receipt_signature,
        created_at=now,
    )


def _signed_by_key(request: RecordCompletion) -> bool:
    frame = request.frame
    if frame.receipt is None or frame.receipt_signature is None:
        return False
    try:
        verify_signature(request.pubkey, bytes(frame.receipt), frame.receipt_signature)
    except BadSignatureError:
        return False
    return True
