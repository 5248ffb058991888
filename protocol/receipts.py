"""Receipts: a worker's signed statement that it produced one output for one job.

A receipt is the compact JSON object ``{"job_id","provider_pubkey","output_hash","completed_at",
"payment_ref"}``, in this order, optionally followed by more keys. The signature is detached ed25519
(RFC 8032) over the UTF-8 bytes of that text, in base64. ``output_hash`` is the lowercase SHA-256 hex of
the compact JSON of the output.

Signer and verifier may be written in different languages, whose JSON encoders disagree on floats and
escapes. So nothing here ever re-encodes: hashes and signatures are checked over the bytes that arrived.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from nacl.exceptions import BadSignatureError as NaclBadSignatureError
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from compute_router.protocol.errors import (
    BadSignatureError,
    OutputHashMismatchError,
    ReceiptJobMismatchError,
    ReceiptKeyMismatchError,
    ReceiptMalformedError,
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


class Receipt(msgspec.Struct, frozen=True):
    """The five keys that every receipt has; later keys are allowed and covered by the signature."""

    job_id: str
    provider_pubkey: PublicKeyHex
    output_hash: Sha256Hex
    completed_at: IsoTimestamp
    payment_ref: str | None


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


def sign_receipt(key: SigningKey, job_id: str, output_json: bytes, completed_at: UnixMs) -> SignedReceipt:
    """Make the receipt for an output. ``output_json`` must be the very bytes that are sent."""
    receipt_json = msgspec.json.encode(
        Receipt(
            job_id=job_id,
            provider_pubkey=public_key_hex(key),
            output_hash=sha256_hex(output_json),
            completed_at=iso_from_unix_ms(completed_at),
            payment_ref=None,
        )
    )
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
        ReceiptMalformedError: it is not an object with the five keys in their form.
    """
    try:
        return _RECEIPTS.decode(receipt_json)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReceiptMalformedError(f"The receipt cannot be read: {error}") from None


def verify_receipt(
    signed: SignedReceipt, *, job_id: str, output_json: bytes, provider_pubkey: str | None = None
) -> Receipt:
    """Check that a receipt proves this output for this job, and return it.

    Args:
        signed: receipt bytes as they arrived, and the signature.
        job_id: the job that the receipt must name.
        output_json: the output's bytes as they arrived.
        provider_pubkey: the key that the receipt must name; None accepts the key it names.

    Raises:
        ReceiptError: the subclass says which check failed, in the order form, job, key, hash, signature.
    """
    receipt = decode_receipt(signed.receipt_json)
    if receipt.job_id != job_id:
        raise ReceiptJobMismatchError("The receipt names another job.")
    if provider_pubkey is not None and receipt.provider_pubkey != provider_pubkey:
        raise ReceiptKeyMismatchError("The receipt names another provider key.")
    if receipt.output_hash != sha256_hex(output_json):
        raise OutputHashMismatchError("The output does not have the hash that the receipt states.")
    verify_signature(receipt.provider_pubkey, signed.receipt_json, signed.signature)
    return receipt


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
