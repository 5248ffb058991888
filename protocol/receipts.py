"""Receipts: a worker's signed statement that it produced one output for one job.

A receipt is the compact JSON object ``{"job_id","provider_pubkey","output_hash","completed_at",
"payment_ref"}``, in this order, optionally followed by more keys. Workers of ours add ``request_hash``,
``model``, ``model_digest`` and ``attempt``. The signature is detached ed25519 (RFC 8032) over the UTF-8
bytes of that text, in base64. ``output_hash`` is the lowercase SHA-256 hex of the compact JSON of the
output. ``docs/receipts.md`` describes all of it for other languages.

Signer and verifier may be written in different languages, whose JSON encoders disagree on floats and
escapes. So nothing here ever re-encodes: hashes and signatures are checked over the bytes that arrived.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from nacl.exceptions import BadSignatureError as NaclBadSignatureError
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from compute_router.protocol.errors import (
    BadSignatureError,
    OutputHashMismatchError,
    ReceiptAttemptMismatchError,
    ReceiptJobMismatchError,
    ReceiptKeyMismatchError,
    ReceiptMalformedError,
    RequestHashMismatchError,
)
from compute_router.protocol.units import UnixMs, iso_from_unix_ms

PublicKeyHex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", min_length=64, max_length=64)]
Sha256Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", min_length=64, max_length=64)]
IsoTimestamp = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z",
        min_length=24,
        max_length=24,
    ),
]


RECEIPT_VERSION: Final = "v2"
"""The form of the receipts that our workers sign."""

MAX_RECEIPT_BYTES: Final = 16 * 1024
"""A longer receipt is malformed; an honest one has less than a kilobyte."""


class WorkDone(msgspec.Struct, frozen=True):
    """What a receipt of ours says beside the five keys.

    ``request_hash`` is the SHA-256 hex of the payload as it arrived at the worker, ``model`` and
    ``model_digest`` are what Ollama calls the model that ran, None for a task.
    """

    request_hash: str
    model: str | None
    model_digest: str | None
    attempt: int


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The five keys that every receipt has, and the four that ours add; None when they are not there.

    Later keys are allowed and covered by the signature.
    """

    job_id: str
    provider_pubkey: PublicKeyHex
    output_hash: Sha256Hex
    completed_at: IsoTimestamp
    payment_ref: str | None
    request_hash: Sha256Hex | None = None
    model: str | None = None
    model_digest: str | None = None
    attempt: Annotated[int, Meta(ge=1)] | None = None


class _LongReceipt(msgspec.Struct, frozen=True):
    """The nine keys as they are signed: a model that is None is written as null."""

    job_id: str
    provider_pubkey: str
    output_hash: str
    completed_at: str
    payment_ref: str | None
    request_hash: str
    model: str | None
    model_digest: str | None
    attempt: int


class SignedReceipt(msgspec.Struct, frozen=True):
    """The exact signed bytes of a receipt, and the base64 signature over them."""

    receipt_json: bytes
    signature: str


_RECEIPTS: Final = msgspec.json.Decoder(Receipt)


def sha256_hex(data: bytes) -> str:
    """Lowercase SHA-256 hex of some bytes."""
    return hashlib.sha256(data).hexdigest()


def public_key_hex(key: SigningKey) -> str:
    """The name by which the network knows a worker: its ed25519 public key in lowercase hex."""
    return key.verify_key.encode().hex()


def sign_receipt(
    key: SigningKey, job_id: str, output_json: bytes, completed_at: UnixMs, work: WorkDone | None = None
) -> SignedReceipt:
    """Make the receipt for an output. ``output_json`` must be the very bytes that are sent.

    Without ``work`` the receipt has the five keys only.
    """
    receipt = Receipt(
        job_id=job_id,
        provider_pubkey=public_key_hex(key),
        output_hash=sha256_hex(output_json),
        completed_at=iso_from_unix_ms(completed_at),
        payment_ref=None,
        request_hash=work.request_hash if work else None,
        model=work.model if work else None,
        model_digest=work.model_digest if work else None,
        attempt=work.attempt if work else None,
    )
    receipt_json = _as_signed(receipt)
    return SignedReceipt(receipt_json, sign_base64(key, receipt_json))


def sign_base64(key: SigningKey, message: bytes) -> str:
    """Detached ed25519 signature in base64."""
    return base64.b64encode(key.sign(message).signature).decode("ascii")


def verify_signature(pubkey_hex: str, message: bytes, signature_base64: str) -> None:
    """Check a detached signature.

    Raises:
        BadSignatureError: the signature is not canonical base64 of 64 bytes, the key is no key, or they
            do not match.
    """
    try:
        signature = base64.b64decode(signature_base64, validate=True)
        if base64.b64encode(signature).decode("ascii") != signature_base64:
            raise ValueError("not the one base64 text of these bytes")
        VerifyKey(bytes.fromhex(pubkey_hex)).verify(message, signature)
    except (NaclBadSignatureError, CryptoError, ValueError, TypeError, binascii.Error):
        raise BadSignatureError("The signature does not match the key and the signed bytes.") from None


def decode_receipt(receipt_json: bytes) -> Receipt:
    """Read a receipt without checking what it states.

    Raises:
        ReceiptMalformedError: it is not an object with the five keys in their form, it is too long, or it has
            a key twice, which other readers may read otherwise.
    """
    if len(receipt_json) > MAX_RECEIPT_BYTES:
        raise ReceiptMalformedError(f"The receipt is longer than {MAX_RECEIPT_BYTES} bytes.")
    try:
        receipt = _RECEIPTS.decode(receipt_json)
        # Written as we would write it, it has each key once; else that takes a closer look.
        if _as_signed(receipt) != receipt_json:
            json.loads(receipt_json, object_pairs_hook=_without_doubles, parse_int=float)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ReceiptMalformedError(f"The receipt cannot be read: {error}") from None
    return receipt


def _as_signed(receipt: Receipt) -> bytes:
    """A receipt as workers of ours write it: five keys, or nine with null for those that say nothing."""
    if receipt.request_hash is None or receipt.attempt is None:
        return msgspec.json.encode(receipt)
    return msgspec.json.encode(
        _LongReceipt(
            receipt.job_id,
            receipt.provider_pubkey,
            receipt.output_hash,
            receipt.completed_at,
            receipt.payment_ref,
            receipt.request_hash,
            receipt.model,
            receipt.model_digest,
            receipt.attempt,
        )
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a key is there twice")
    return names


def verify_receipt(
    signed: SignedReceipt,
    *,
    job_id: str,
    output_json: bytes,
    provider_pubkey: str | None = None,
    request_hash: str | None = None,
    attempt: int | None = None,
) -> Receipt:
    """Check that a receipt proves this output for this job, and return it.

    Args:
        signed: receipt bytes as they arrived, and the signature.
        job_id: the job that the receipt must name.
        output_json: the output's bytes as they arrived.
        provider_pubkey: the key that the receipt must name; None accepts the key it names.
        request_hash: the SHA-256 hex of the payload, which a receipt that names one must name; None accepts
            any.
        attempt: the attempt that a receipt that names one must name; None accepts any.

    Raises:
        ReceiptError: the subclass says which check failed, in the order of :func:`check_claims`, signature.
    """
    receipt = decode_receipt(signed.receipt_json)
    check_claims(
        receipt,
        job_id=job_id,
        output_hash=sha256_hex(output_json),
        provider_pubkey=provider_pubkey,
        request_hash=request_hash,
        attempt=attempt,
    )
    verify_signature(receipt.provider_pubkey, signed.receipt_json, signed.signature)
    return receipt


def check_claims(
    receipt: Receipt,
    *,
    job_id: str,
    output_hash: str,
    provider_pubkey: str | None = None,
    request_hash: str | None = None,
    attempt: int | None = None,
) -> None:
    """Check what a receipt states, without its signature; arguments as of :func:`verify_receipt`.

    Raises:
        ReceiptError: the subclass says which check failed, in the order job, key, output, request, attempt.
    """
    if receipt.job_id != job_id:
        raise ReceiptJobMismatchError("The receipt names another job.")
    if provider_pubkey is not None and receipt.provider_pubkey != provider_pubkey:
        raise ReceiptKeyMismatchError("The receipt names another provider key.")
    if receipt.output_hash != output_hash:
        raise OutputHashMismatchError("The output does not have the hash that the receipt states.")
    if request_hash is not None and receipt.request_hash not in (None, request_hash):
        raise RequestHashMismatchError("The request does not have the hash that the receipt states.")
    if attempt is not None and receipt.attempt not in (None, attempt):
        raise ReceiptAttemptMismatchError("The receipt names another attempt.")


def attach_proof(receipt_json: bytes, signature: str, *, verified: bool) -> bytes:
    """The receipt object as job answers show it: the signed text, then ``signature`` and ``verified``.

    The two keys are always the last and always compact, so :func:`detach_proof` gets the signed bytes back.
    """
    return receipt_json.rstrip()[:-1] + _proof_suffix(signature, verified=verified)


def detach_proof(receipt_with_proof: bytes) -> tuple[SignedReceipt, bool]:
    """Undo :func:`attach_proof`: the signed bytes with their signature, and the coordinator's verdict.

    Raises:
        ReceiptMalformedError: the object does not end in ``signature`` and ``verified`` in that form.
    """
    try:
        proof = _PROOFS.decode(receipt_with_proof)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReceiptMalformedError(f"The receipt cannot be read: {error}") from None
    suffix = _proof_suffix(proof.signature, verified=proof.verified)
    if not receipt_with_proof.endswith(suffix):
        raise ReceiptMalformedError("The receipt does not end in its signature and verdict.")
    return SignedReceipt(receipt_with_proof[: -len(suffix)] + b"}", proof.signature), proof.verified


class _Proof(msgspec.Struct, frozen=True):
    signature: str
    verified: bool


_PROOFS: Final = msgspec.json.Decoder(_Proof)


def _proof_suffix(signature: str, *, verified: bool) -> bytes:
    return b"," + msgspec.json.encode(_Proof(signature, verified))[1:]
