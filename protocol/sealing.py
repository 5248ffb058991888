"""Sealed PRIVATE jobs: only the chosen workers can read the payload, and only the seeker the result.

The payload is encrypted once, with XChaCha20-Poly1305 under a fresh content key. The content key is put into
a libsodium sealed box for each recipient, whose ed25519 key is converted to X25519 for that. What the
coordinator routes by (network, type, user, model, who the recipients are, where the result goes) is not
encrypted but bound to the ciphertext as associated data, so none of it can be exchanged. The result is a
sealed box for ``reply_to``, a key that the seeker makes for this one job.

A sealed box does not say who made it. That the payload is the seeker's and the result a recipient's is shown
by the receipt, which is signed over the hashes of both.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey, SealedBox
from nacl.secret import Aead
from nacl.signing import SigningKey, VerifyKey
from nacl.utils import random as random_bytes

from compute_router.protocol.errors import SealedUnreadableError, UnusableKeyError
from compute_router.protocol.jobs import (
    MAX_OUTPUT_TOKENS,
    JobType,
    LlmInferPayload,
    TaskPayload,
    decode_payload,
)
from compute_router.protocol.receipts import PublicKeyHex, public_key_hex

SEALED_VERSION: Final = "v1"
MAX_RECIPIENTS: Final = 64

_CONTENT_KEY_BYTES: Final = Aead.KEY_SIZE
# A sealed box of a content key has 80 bytes.
_BoxedKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{107}=\Z", min_length=108, max_length=108)]
_Ciphertext = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]+={0,2}\Z", min_length=4)]


class SealedPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Payload of a sealed job of any type. ``keys`` holds the content key, boxed for each recipient.

    ``reply_to`` is the X25519 key for the result. ``max_tokens`` repeats that of the payload inside, because
    the coordinator sets the lease by it.
    """

    sealed: Literal["v1"]
    ciphertext: _Ciphertext
    keys: Annotated[dict[PublicKeyHex, _BoxedKey], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    reply_to: PublicKeyHex
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_OUTPUT_TOKENS)] | None = None

    @property
    def recipients(self) -> tuple[str, ...]:
        """The keys that can open it, sorted."""
        return tuple(sorted(self.keys))


class SealedResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Output of a sealed job: a sealed box for the job's ``reply_to`` around the plain output's JSON."""

    sealed: Literal["v1"]
    ciphertext: _Ciphertext


class SealBinding(msgspec.Struct, frozen=True):
    """The job that a sealed payload belongs to. ``model`` is the one asked for, None for any."""

    network: str
    job_type: JobType
    user_id: str
    model: str | None


class _Peek(msgspec.Struct, frozen=True):
    sealed: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _VisibleLimit(msgspec.Struct, frozen=True):
    max_tokens: int | None = None


_SEALED_PAYLOADS: Final = msgspec.json.Decoder(SealedPayload)
_SEALED_RESULTS: Final = msgspec.json.Decoder(SealedResult)
_PEEKS: Final = msgspec.json.Decoder(_Peek)
_VISIBLE_LIMITS: Final = msgspec.json.Decoder(_VisibleLimit)


def decode_any_payload(
    job_type: JobType, raw: bytes | msgspec.Raw
) -> LlmInferPayload | TaskPayload | SealedPayload:
    """Read a payload as it is committed: plain, or, when it has the key ``sealed``, sealed.

    Plain payloads have no such key, so reading them costs nothing more.

    Raises:
        msgspec.ValidationError: the payload is not one for this job type.
        msgspec.DecodeError: the bytes are not JSON.
        UnicodeDecodeError: the bytes are not UTF-8.
    """
    try:
        return decode_payload(job_type, raw)
    except msgspec.ValidationError:
        if not _has_seal(raw):
            raise
    return _decode_sealed(job_type, raw)


def find_sealed(job_type: JobType, raw: bytes) -> SealedPayload | None:
    """The sealed payload in these bytes, or None when they have no key ``sealed``.

    Raises:
        SealedUnreadableError: they have that key, but not the form of a sealed payload.
    """
    if not _has_seal(raw):
        return None
    try:
        return _decode_sealed(job_type, raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SealedUnreadableError("The sealed payload does not have the form of one.") from None


def seal_payload(plain: bytes, binding: SealBinding, recipients: Collection[str], reply_to: str) -> bytes:
    """Seal a plain payload's JSON for workers, named by their ed25519 keys in hex.

    Args:
        plain: a payload that is valid for ``binding.job_type``.
        binding: the job that it is committed as, and where.
        recipients: 1 to MAX_RECIPIENTS keys.
        reply_to: X25519 key in hex that the result is sealed to.

    Returns:
        The JSON bytes to commit as payload.

    Raises:
        UnusableKeyError: a key is none, or of low order; or there are too many recipients, or none.
        msgspec.MsgspecError: the plain payload is not one for this job type.
    """
    if not 1 <= len(set(recipients)) <= MAX_RECIPIENTS:
        raise UnusableKeyError(f"A payload is sealed to 1 to {MAX_RECIPIENTS} workers.")
    payload = decode_payload(binding.job_type, plain)
    reply_key(reply_to)
    content_key = random_bytes(_CONTENT_KEY_BYTES)
    keys = {
        recipient: _base64(SealedBox(_recipient_key(recipient)).encrypt(content_key))
        for recipient in sorted(set(recipients))
    }
    ciphertext = Aead(content_key).encrypt(plain, _associated_data(binding, tuple(keys), reply_to))
    max_tokens = payload.max_tokens if isinstance(payload, LlmInferPayload) else None
    return msgspec.json.encode(
        SealedPayload(SEALED_VERSION, _base64(bytes(ciphertext)), keys, reply_to, max_tokens)
    )


def open_payload(sealed: SealedPayload, binding: SealBinding, key: SigningKey) -> bytes:
    """Open a payload with a recipient's signing key; gives the plain payload's JSON, not yet checked.

    Raises:
        SealedUnreadableError: it is not sealed to this key, or not for this job, or was changed.
    """
    boxed = sealed.keys.get(public_key_hex(key))
    if boxed is None:
        raise SealedUnreadableError("The payload is not sealed to this worker's key.")
    try:
        reply_key(sealed.reply_to)
        content_key = SealedBox(key.to_curve25519_private_key()).decrypt(_bytes(boxed))
        associated = _associated_data(binding, sealed.recipients, sealed.reply_to)
        plain = Aead(content_key).decrypt(_bytes(sealed.ciphertext), associated)
    except (CryptoError, UnusableKeyError, ValueError, TypeError):
        raise SealedUnreadableError(
            "The sealed payload cannot be opened: it was changed, or sealed for another job."
        ) from None
    if _visible_limit(plain) != sealed.max_tokens:
        raise SealedUnreadableError("The max_tokens beside the sealed payload is not that inside it.")
    return plain


def seal_result(output_json: bytes, reply_to: str) -> bytes:
    """Seal an output's JSON to the seeker's key; gives the bytes to hash, sign and send as the output.

    Raises:
        UnusableKeyError: ``reply_to`` is no key, or of low order.
    """
    ciphertext = SealedBox(reply_key(reply_to)).encrypt(output_json)
    return msgspec.json.encode(SealedResult(SEALED_VERSION, _base64(ciphertext)))


def is_sealed_result(output_json: bytes) -> bool:
    """Whether an output has the form of a sealed one. Says nothing about what is in it."""
    try:
        _SEALED_RESULTS.decode(output_json)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def open_result(sealed_result: bytes, secret: PrivateKey) -> bytes:
    """Open an output with the secret half of ``reply_to``; gives the plain output's JSON, not yet checked.

    Raises:
        SealedUnreadableError: it is no sealed result, or sealed to another key, or was changed.
    """
    try:
        result = _SEALED_RESULTS.decode(sealed_result)
        return SealedBox(secret).decrypt(_bytes(result.ciphertext))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, CryptoError, ValueError, TypeError):
        raise SealedUnreadableError(
            "The sealed result cannot be opened: it was changed, or sealed to another key."
        ) from None


def reply_key(public_hex: str) -> PublicKey:
    """The X25519 key of this hex text.

    Raises:
        UnusableKeyError: it is not 32 bytes in lowercase hex, or of low order: boxes for such a key can be
            opened by anybody.
    """
    try:
        key = PublicKey(_key_bytes(public_hex))
        # libsodium refuses a key exchange whose outcome does not depend on the secret.
        Box(PrivateKey.generate(), key)
    except (CryptoError, ValueError, TypeError):
        raise UnusableKeyError("The key for the result is not a usable X25519 key.") from None
    return key


def _recipient_key(pubkey_hex: str) -> PublicKey:
    try:
        # libsodium refuses points of low order, and those outside the prime-order subgroup.
        return VerifyKey(_key_bytes(pubkey_hex)).to_curve25519_public_key()
    except (CryptoError, ValueError, TypeError):
        raise UnusableKeyError(f"Nothing can be sealed to the worker key {pubkey_hex[:64]!r}.") from None


def _key_bytes(text: str) -> bytes:
    key = bytes.fromhex(text)
    if key.hex() != text:
        raise ValueError("not the one hex text of these bytes")
    return key


def _associated_data(binding: SealBinding, recipients: tuple[str, ...], reply_to: str) -> bytes:
    # None of the parts of a true seal has a line feed, so no other parts give the same bytes.
    lines = (
        f"compute-router/sealed/{SEALED_VERSION}",
        binding.network,
        binding.job_type.value,
        binding.user_id,
        binding.model or "",
        reply_to,
        ",".join(recipients),
    )
    return "\n".join(lines).encode()


def _decode_sealed(job_type: JobType, raw: bytes | msgspec.Raw) -> SealedPayload:
    payload = _SEALED_PAYLOADS.decode(raw)
    if payload.max_tokens is not None and job_type is not JobType.LLM_INFER:
        raise msgspec.ValidationError("max_tokens belongs to LLM_INFER jobs")
    return payload


def _has_seal(raw: bytes | msgspec.Raw) -> bool:
    try:
        return _PEEKS.decode(raw).sealed is not msgspec.UNSET
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _visible_limit(plain: bytes) -> int | None:
    try:
        return _VISIBLE_LIMITS.decode(plain).max_tokens
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if _base64(data) != text:
        raise ValueError("not the one base64 text of these bytes")
    return data
