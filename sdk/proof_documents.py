"""What can be handed to a verifier: the documents that carry a receipt, read without judging them.

Three forms are understood. The document of ``GET /v1/receipts/{job_id}`` holds the signed texts as JSON
strings, so that it survives being reformatted. An answer of ``GET /v1/jobs/{id}`` holds result and receipt
as JSON, so that it proves something only as the bytes that came. And a bare receipt is a receipt with its
signature: ``{"receipt": TEXT, "signature": …}``, or the receipt as a job answer shows it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from compute_router.protocol.errors import ReceiptError, ReceiptMalformedError
from compute_router.protocol.http_api import CommitRequest, JobAnswer
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.receipts import SignedReceipt, detach_proof
from compute_router.sdk.errors import UnexpectedAnswerError

_NULL: Final = b"null"
_BLANKS: Final = b" \t\r\n"


class Countersign(msgspec.Struct, frozen=True):
    """A coordinator's statement as it was signed, and by which key it says it was."""

    statement: str
    signature: str
    pubkey: str


class ProofDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a document carries; None for what it does not.

    ``unreadable`` says why the receipt could not be taken out. ``output_json`` is the result in a job
    answer. ``reformatted`` says that its bytes are not those that came from a coordinator. ``payment_ref`` is
    the transaction that the coordinator names as the job's payment; nobody signed that.
    """

    job_id: str | None = None
    network: str | None = None
    provider_pubkey: str | None = None
    verified: bool | None = None
    signed: SignedReceipt | None = None
    unreadable: ReceiptError | None = None
    output_json: bytes | None = None
    countersign: Countersign | None = None
    status: JobStatus = JobStatus.COMPLETED
    reformatted: bool = False
    payment_ref: str | None = None


class _Texts(msgspec.Struct, frozen=True):
    """The document of ``/v1/receipts``, or less of it."""

    receipt: msgspec.Raw
    signature: str | None
    job_id: str | None = None
    network: str | None = None
    provider_pubkey: str | None = None
    verified: bool | None = None
    statement: str | None = None
    coordinator_signature: str | None = None
    coordinator_pubkey: str | None = None
    payment_ref: str | None = None


def read_document(data: bytes) -> ProofDocument:
    """Read a document of any of the forms.

    Raises:
        UnexpectedAnswerError: it is none of them.
    """
    data = data.strip(_BLANKS)
    keys = _keys(data)
    if {"id", "result"} <= keys:
        return _from_answer(data)
    if {"receipt", "signature"} <= keys:
        return _from_texts(data)
    if {"job_id", "output_hash", "signature"} <= keys:
        return _from_shown_receipt(data)
    raise UnexpectedAnswerError(
        "This is not the answer about a job, the document of a receipt, or a receipt with its signature."
    )


def document_of(answer: JobAnswer) -> ProofDocument:
    """The document that a job answer is."""
    receipt_json, result = bytes(answer.receipt), bytes(answer.result)
    signed, unreadable = None, None
    if receipt_json != _NULL:
        try:
            signed, _their_verdict = detach_proof(receipt_json)
        except ReceiptMalformedError as error:
            unreadable = error
    return ProofDocument(
        job_id=answer.id,
        signed=signed,
        unreadable=unreadable,
        output_json=result,
        status=answer.status,
        reformatted=is_reformatted(receipt_json),
        payment_ref=answer.payment_ref if isinstance(answer.payment_ref, str) else None,
    )


def output_in(data: bytes) -> bytes:
    """The output in a file: the whole file, or the result of the job answer that it holds."""
    data = data.strip(_BLANKS)
    if {"id", "status", "result", "receipt", "created_at"} <= _keys(data):
        return bytes(_decode(data, JobAnswer).result)
    return data


def request_in(data: bytes) -> bytes:
    """The payload in a file: the whole file, or the payload of the commit that it holds."""
    data = data.strip(_BLANKS)
    if {"job_type", "user_id", "payload"} <= _keys(data):
        return bytes(_decode(data, CommitRequest).payload)
    return data


def is_reformatted(text: bytes) -> bool:
    """Whether JSON that was compact when it was signed has got white space between its parts."""
    try:
        return msgspec.json.format(text, indent=-1) != text
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _from_answer(data: bytes) -> ProofDocument:
    return document_of(_decode(data, JobAnswer))


def _from_texts(data: bytes) -> ProofDocument:
    texts = _decode(data, _Texts)
    raw = bytes(texts.receipt)
    if raw.startswith(b'"'):
        receipt_json: bytes | None = _decode(raw, str).encode("utf-8", "surrogatepass")
    else:
        receipt_json = None if raw == _NULL else raw
    signed = None
    if receipt_json is not None:
        # Without a signature it is no proof; the check of it says so.
        signed = SignedReceipt(receipt_json, texts.signature or "")
    countersign = None
    if texts.statement is not None:
        countersign = Countersign(
            texts.statement, texts.coordinator_signature or "", texts.coordinator_pubkey or ""
        )
    return ProofDocument(
        job_id=texts.job_id,
        network=texts.network,
        provider_pubkey=texts.provider_pubkey,
        verified=texts.verified,
        signed=signed,
        countersign=countersign,
        reformatted=not raw.startswith(b'"') and is_reformatted(raw),
        payment_ref=texts.payment_ref,
    )


def _from_shown_receipt(data: bytes) -> ProofDocument:
    try:
        signed, _their_verdict = detach_proof(data)
    except ReceiptMalformedError as error:
        return ProofDocument(unreadable=error, reformatted=is_reformatted(data))
    return ProofDocument(signed=signed, reformatted=is_reformatted(signed.receipt_json))


def _keys(data: bytes) -> set[str]:
    try:
        return set(msgspec.json.decode(data, type=dict[str, msgspec.Raw]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return set()


def _decode(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedAnswerError(f"This document cannot be read: {error}") from None
