"""Sealed PRIVATE jobs from the seeker's side: sealed before they are sent, checked before they are opened."""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

import msgspec
from nacl.public import PrivateKey

from compute_router.protocol.errors import ReceiptKeyMismatchError, RequestHashMismatchError
from compute_router.protocol.http_api import JobAnswer, Provider
from compute_router.protocol.jobs import PrivacyClass
from compute_router.protocol.receipts import PublicKeyHex, Sha256Hex, sha256_hex
from compute_router.protocol.sealing import (
    SEALED_VERSION,
    SealBinding,
    is_sealed_result,
    open_result,
    seal_payload,
)
from compute_router.sdk.errors import (
    InvalidArgumentError,
    NoPinnedWorkerError,
    ResultKeyMissingError,
    SealedDowngradeError,
    SealingNotSupportedError,
)
from compute_router.sdk.jobs import CheckedJob
from compute_router.sdk.steps import Answered
from compute_router.sdk.verification import Verification, verify_answer

SUPPORTED_HEADER: Final = "sealed-payloads"
SEALED_ELSEWHERE: Final = (
    "If it was for this very job, another client sealed that: no two sealings are alike, and only the client "
    "that made one can repeat it."
)
_MOST_KEPT: Final = 32


class Pins(Protocol):
    """The worker keys that the user of this machine vouched for, such as a trust file."""

    def pinned(self, network: str, user_id: str) -> tuple[str, ...]:
        """Those of one user on one network."""


class ReplyKey(msgspec.Struct, frozen=True):
    """What it takes to check and open the result of one sealed job.

    ``secret`` is the one-time X25519 key in hex, ``request_hash`` the SHA-256 hex of the payload that was
    sent, ``recipients`` are the workers that it was sealed to. Whoever has the secret can read the result.
    """

    secret: PublicKeyHex
    request_hash: Sha256Hex
    recipients: tuple[PublicKeyHex, ...]

    def __repr__(self) -> str:
        """Without the secret."""
        return f"ReplyKey(request_hash={self.request_hash!r})"


class SealedJob(msgspec.Struct, frozen=True):
    """A payload as it is sent, and what opens its result."""

    payload: bytes
    reply_key: ReplyKey


class JobHandle(str):
    """The id of a submitted job. For a sealed job it also carries the key to its result.

    As text it is the id alone: a handle that is rebuilt from its text cannot open a sealed result, unless
    it is given the ``reply_key`` again.
    """

    __slots__ = ("reply_key",)
    reply_key: ReplyKey | None

    def __new__(cls, job_id: str, reply_key: ReplyKey | None = None) -> JobHandle:
        handle = super().__new__(cls, job_id)
        handle.reply_key = reply_key
        return handle


def wants_seal(job: CheckedJob) -> bool:
    """Whether this job must not be sent unsealed."""
    return job.sealed and job.privacy is PrivacyClass.PRIVATE


def require_sealing(quote: Answered) -> None:
    """Make sure that the coordinator that gave this quote takes sealed payloads.

    Raises:
        SealingNotSupportedError: it does not say so.
    """
    if quote.headers.get(SUPPORTED_HEADER, "").strip().lower() != SEALED_VERSION:
        raise SealingNotSupportedError(
            "This coordinator does not take sealed payloads, so it would read the PRIVATE job; nothing was "
            "sent. To send it readable, to be run by paired workers only: sealed=False, or --no-seal."
        )


def choose_recipients(listed: Sequence[Provider], pinned: Collection[str], user_id: str) -> tuple[str, ...]:
    """The workers to seal to: those that the coordinator lists and that were pinned here.

    Raises:
        NoPinnedWorkerError: there is none; the error says what to do.
    """
    user = shlex.quote(user_id)
    keys = {provider.provider_pubkey for provider in listed}
    chosen = tuple(sorted(keys & set(pinned)))
    if chosen:
        return chosen
    if not keys:
        raise NoPinnedWorkerError(
            f"No worker is paired with the user {user_id!r}, so the PRIVATE job can be sealed to nobody. "
            f"Pair one: compute-router trust create --wait --user {user}"
        )
    raise NoPinnedWorkerError(
        f"None of the {len(keys)} worker(s) paired with the user {user_id!r} is pinned on this machine, so "
        "nothing but the coordinator's word says whose they are. Compare the key with what the worker prints "
        f"at its start, then: compute-router trust pin PUBKEY --user {user} (all: compute-router trust list "
        f"--user {user})"
    )


def seal_job(job: CheckedJob, network: str, user_id: str, recipients: Sequence[str]) -> SealedJob:
    """Seal a job to workers, with a new key for its result.

    Raises:
        InvalidArgumentError: its text is not Unicode.
        UnusableKeyError: one of the recipients has no usable key.
    """
    secret = PrivateKey.generate()
    binding = SealBinding(network, job.job_type, user_id, job.model)
    payload = seal_payload(_encoded(job.payload), binding, recipients, secret.public_key.encode().hex())
    return SealedJob(payload, ReplyKey(secret.encode().hex(), sha256_hex(payload), tuple(recipients)))


def open_answer(answer: JobAnswer, key: ReplyKey) -> tuple[bytes, Verification]:
    """The output inside the answer about a completed sealed job, and the proof of who made it.

    Nothing is opened before a receipt shows that one of the recipients made this very result for this very
    request.

    Raises:
        SealedDowngradeError: the result is not sealed.
        ReceiptError: the receipt is missing, or does not prove that.
        SealedUnreadableError: the result cannot be opened with this key.
    """
    result = bytes(answer.result)
    if not is_sealed_result(result):
        raise SealedDowngradeError(
            f"The result of the sealed job {answer.id} came unsealed, so it is not from a worker that could "
            "read the job. It is not shown."
        )
    verification = verify_answer(answer)
    if verification.error is not None:
        raise verification.error
    assert verification.receipt is not None, "what is verified has a receipt"
    if verification.receipt.provider_pubkey not in key.recipients:
        raise ReceiptKeyMismatchError("The receipt is signed by a worker that the job was not sealed to.")
    if verification.receipt.request_hash != key.request_hash:
        raise RequestHashMismatchError("The receipt is not for the sealed payload that was sent.")
    return open_result(result, PrivateKey(bytes.fromhex(key.secret))), verification


def refuse_sealed(answer: JobAnswer) -> None:
    """Make sure that a result can be read without a key.

    Raises:
        ResultKeyMissingError: it is sealed.
    """
    if is_sealed_result(bytes(answer.result)):
        raise ResultKeyMissingError(
            f"The result of job {answer.id} is sealed. It opens for whoever submitted the job: ask with the "
            "handle that submit returned, not with its text.",
            answer.id,
        )


class SealedJobs:
    """Remembers how the latest jobs were sealed, by idempotency key.

    Sealing the same job twice gives other bytes, and the coordinator takes those for another job. A
    submission that is repeated under its key has to be the same bytes. Threads may share one of these.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], SealedJob] = OrderedDict()

    def find(self, idempotency_key: str, job: CheckedJob, network: str, user_id: str) -> SealedJob | None:
        """How this job was sealed under this key, if it was."""
        with self._lock:
            return self._kept.get((idempotency_key, _fingerprint(job, network, user_id)))

    def keep(
        self, idempotency_key: str, job: CheckedJob, network: str, user_id: str, sealed: SealedJob
    ) -> SealedJob:
        """Remember a sealed job, or get the one that was remembered meanwhile; the oldest make room."""
        name = (idempotency_key, _fingerprint(job, network, user_id))
        with self._lock:
            kept = self._kept.setdefault(name, sealed)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return kept


def _fingerprint(job: CheckedJob, network: str, user_id: str) -> str:
    return sha256_hex(_encoded((job, network, user_id)))


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise InvalidArgumentError("The text holds characters that are not Unicode.") from None
