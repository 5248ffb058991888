"""What can go wrong for a seeker, beside the errors that the whole system shares.

Errors that the coordinator names itself (``invalid_request``, ``not_found``, ...) are raised as the
classes of :mod:`compute_router.protocol.errors`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compute_router.protocol import errors as protocol_errors
from compute_router.protocol.errors import (
    ComputeRouterError,
    ConfigurationError,
    RequestError,
    SealingError,
    UnavailableError,
)

if TYPE_CHECKING:
    from compute_router.protocol.units import MicroUsd
    from compute_router.sdk.job_payment import JobPayment
    from compute_router.sdk.snapshots import JobSnapshot


class InvalidArgumentError(RequestError):
    """An argument was refused before anything was sent."""

    code = "invalid_argument"


class RefusedError(RequestError):
    """The coordinator refused for a reason that this version has no class for.

    ``reason`` is its error code, ``status`` the HTTP status.
    """

    code = "refused"

    def __init__(self, message: str, reason: str, status: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class TokenMissingError(protocol_errors.AuthenticationError):
    """The user id is owned, and its token is not on this machine. ``trust_file`` is where it would be."""

    code = "token_missing"

    def __init__(self, message: str, trust_file: Path) -> None:
        super().__init__(message)
        self.trust_file = trust_file


class WrongTokenError(protocol_errors.PermissionDeniedError):
    """The token on this machine does not own the user id. ``trust_file`` is where it is kept."""

    code = "token_wrong"

    def __init__(self, message: str, trust_file: Path) -> None:
        super().__init__(message)
        self.trust_file = trust_file


class FingerprintMismatchError(ComputeRouterError):
    """Another worker than expected used a pairing code. ``pubkey`` is its key, which is not pinned."""

    code = "fingerprint_mismatch"

    def __init__(self, message: str, pubkey: str) -> None:
        super().__init__(message)
        self.pubkey = pubkey


class UnsignedClaimError(ComputeRouterError):
    """A pairing code was used for a key that did not sign for it. ``pubkey`` is the key; it is not pinned."""

    code = "unsigned_claim"

    def __init__(self, message: str, pubkey: str) -> None:
        super().__init__(message)
        self.pubkey = pubkey


class PairingTimeoutError(ComputeRouterError):
    """No worker used the pairing code in the time given."""

    code = "pairing_timeout"


class PaymentRequiredError(protocol_errors.PaymentRequiredError):
    """The coordinator wants to be paid, and this client has no wallet, or none for that chain."""


class PaymentRefusedError(protocol_errors.PaymentRefusedError):
    """The coordinator did not take the payment, and made no job. ``reason`` is its error code.

    What was signed may still be carried out by a coordinator that lies, so it counts as spent. ``reason`` is
    ``declined`` when this client's own ``before_payment`` said no: then nothing was signed.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnacceptableOfferError(ComputeRouterError):
    """The coordinator wants a payment that this client does not make; nothing was signed.

    Another network, asset or scheme than the coordinator's chain has, another recipient than before, or terms
    that nobody needs.
    """

    code = "unacceptable_offer"


class PriceMismatchError(UnacceptableOfferError):
    """The coordinator wants more than it quoted; nothing was signed. Amounts are in micro-USD."""

    code = "price_mismatch"

    def __init__(self, message: str, quoted: MicroUsd, wanted: MicroUsd) -> None:
        super().__init__(message)
        self.quoted = quoted
        self.wanted = wanted


class SpendingCapError(ComputeRouterError):
    """The job costs more than this client may spend; nothing was signed. Amounts are in micro-USD."""

    code = "spending_cap"

    def __init__(self, message: str, price: MicroUsd, cap: MicroUsd) -> None:
        super().__init__(message)
        self.price = price
        self.cap = cap


class WalletError(ConfigurationError):
    """The wallet, or what payments need besides, cannot be used. The sentence says what to change."""

    code = "wallet"


class WrongNetworkError(ConfigurationError):
    """The coordinator at this address serves another chain than the one that was asked for."""

    code = "wrong_network"


class CoordinatorUnreachableError(UnavailableError):
    """No answer came from the coordinator. ``job_id`` is set when a submitted job was being waited for."""

    code = "coordinator_unreachable"

    def __init__(self, message: str, job_id: str | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class SubmissionUnknownError(CoordinatorUnreachableError):
    """The connection broke after a job was sent: the coordinator may or may not have it.

    ``idempotency_key`` is set when the coordinator keeps such keys: submitting the same job again with it
    gives the same job. None means that sending the job again could run it twice.
    """

    code = "submission_unknown"

    def __init__(self, message: str, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class CoordinatorFailedError(UnavailableError):
    """The coordinator answered that it cannot serve now. ``status`` is the HTTP status: 429 or 5xx.

    ``reason`` is its error code (``queue_full``, ``draining``, ...) and ``retry_after_s`` the pause that it
    asked for; both may be None.
    """

    code = "coordinator_failed"

    def __init__(
        self, message: str, status: int, reason: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class TooManyRequestsError(CoordinatorFailedError):
    """The coordinator refused for now because of a limit: of this key, user or address. ``status`` is 429.

    ``reason`` says which limit: ``jobs_per_minute``, ``jobs_at_once``, ``jobs_per_day``, ``user_queue_full``,
    ``rate_limited``.
    """

    code = "too_many_requests"


class UnexpectedAnswerError(ComputeRouterError):
    """An answer or an output does not have the shape that the protocol gives it."""

    code = "unexpected_answer"


class JobFailedError(ComputeRouterError):
    """The job ended without a result.

    ``reason`` is the coordinator's code for the end (see ``protocol.failures``), ``last_reason`` why the
    last attempt ended, ``detail`` the worker's own words; the last two may be None. ``payment`` is how the
    payment of a paid job stands.
    """

    code = "job_failed"

    def __init__(
        self,
        message: str,
        *,
        job_id: str,
        reason: str,
        last_reason: str | None = None,
        detail: str | None = None,
        payment: JobPayment | None = None,
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.reason = reason
        self.last_reason = last_reason
        self.detail = detail
        self.payment = payment


class JobCancelledError(JobFailedError):
    """The job was cancelled before it ended."""

    code = "job_cancelled"


class JobFinishedError(protocol_errors.JobFinishedError):
    """The job had ended before it could be cancelled. ``snapshot`` is the job as it ended."""

    def __init__(self, message: str, snapshot: JobSnapshot) -> None:
        super().__init__(message)
        self.snapshot = snapshot
        self.job_id = snapshot.job_id


class JobTimeoutError(ComputeRouterError):
    """The job did not end in the time given.

    Unless it was ``cancelled``, it goes on: ``result(error.job_id)`` gets it later.
    """

    code = "job_timeout"

    def __init__(
        self, job_id: str, timeout_s: float, what_now: str | None = None, *, cancelled: bool = False
    ) -> None:
        what_now = what_now or "It may still finish: ask for its result later."
        super().__init__(f"Job {job_id} did not end within {timeout_s:g} s. {what_now}")
        self.job_id = job_id
        self.timeout_s = timeout_s
        self.cancelled = cancelled


class NoPinnedWorkerError(SealingError):
    """A sealed job has nobody to be sealed to: no worker is both paired with the user and pinned here."""

    code = "no_pinned_worker"


class SealingNotSupportedError(SealingError):
    """The coordinator does not take sealed payloads; the job was not sent at all."""

    code = "sealing_not_supported"


class SealedDowngradeError(SealingError):
    """A sealed job came back with a result that is not sealed."""

    code = "sealed_downgrade"


class ResultKeyMissingError(SealingError):
    """The result is sealed, and the key to it is with whoever submitted the job."""

    code = "result_key_missing"

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class FallbackFailedError(ComputeRouterError):
    """The network could not serve the job, and the hosted fallback could not either.

    ``network_error`` is why the network could not.
    """

    code = "fallback_failed"

    def __init__(self, message: str, network_error: ComputeRouterError) -> None:
        super().__init__(message)
        self.network_error = network_error
