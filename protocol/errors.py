"""Every error that crosses a boundary of the system: one tree, each with a stable code and an HTTP status."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from compute_router.protocol.payment_offer import PaymentOffer


class ComputeRouterError(Exception):
    """Base of all errors of this project. ``str(error)`` is a sentence for a person."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500


class RequestError(ComputeRouterError):
    """The caller sent something that cannot be served; sending the same again will not help."""

    code = "invalid_request"
    http_status = 400


class MalformedJsonError(RequestError):
    """The bytes are not UTF-8 JSON, or are nested too deeply."""

    code = "malformed_json"


class InvalidCodeError(RequestError):
    """No such pairing code."""

    code = "invalid_code"


class AlreadyClaimedError(RequestError):
    """The pairing code was used before."""

    code = "already_claimed"


class ExpiredError(RequestError):
    """The pairing code is too old."""

    code = "expired"


class AuthenticationError(RequestError):
    """Who sent the request is not known: no key or token came with it, or not one that is valid.

    ``presented`` says whether one came, which RFC 6750 has the answer tell apart.
    """

    code = "unauthorized"
    http_status = 401

    def __init__(self, message: str, *, presented: bool = False) -> None:
        super().__init__(message)
        self.presented = presented


class PermissionDeniedError(RequestError):
    """Who sent the request is known, and may not do this."""

    code = "forbidden"
    http_status = 403


class NotFoundError(RequestError):
    """No such route or job."""

    code = "not_found"
    http_status = 404


class MethodNotAllowedError(RequestError):
    """The route exists, but not for this method."""

    code = "method_not_allowed"
    http_status = 405

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class PayloadTooLargeError(RequestError):
    """The body is larger than the coordinator takes."""

    code = "payload_too_large"
    http_status = 413


class UnsupportedMediaTypeError(RequestError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"
    http_status = 415


class UpgradeRequiredError(RequestError):
    """Plain HTTP on the address where workers open their WebSocket."""

    code = "upgrade_required"
    http_status = 426


class NoTrustedWorkerError(RequestError):
    """A PRIVATE job, and none of the user's paired workers is connected."""

    code = "no_trusted_worker"
    http_status = 422

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class IdempotencyConflictError(RequestError):
    """The Idempotency-Key was used before, for another request."""

    code = "idempotency_conflict"
    http_status = 409


class JobFinishedError(RequestError):
    """The job has ended already, so it cannot be cancelled."""

    code = "job_finished"
    http_status = 409


class PaymentInProgressError(RequestError):
    """The job is done and its payment is being settled: it cannot be cancelled, and has no result yet."""

    code = "payment_in_progress"
    http_status = 409


class PayoutConflictError(RequestError):
    """The payout is not where this step of it begins: somebody else was first, or it has ended."""

    code = "payout_conflict"
    http_status = 409


class JobUnfinishedError(RequestError):
    """The job is not completed, so there is no receipt of it."""

    code = "job_unfinished"
    http_status = 409


class TooManyCodesError(RequestError):
    """The user has as many unused pairing codes as one user can have."""

    code = "too_many_codes"
    http_status = 409


class TooManyPairingsError(RequestError):
    """The user trusts as many workers as one user can."""

    code = "too_many_pairings"
    http_status = 409


class RateLimitedError(RequestError):
    """The caller sends too much in too short a time; slower will work.

    ``retry_after_s`` is how many seconds later it may work.
    """

    code = "rate_limited"
    http_status = 429

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UserQueueFullError(RateLimitedError):
    """This user has as many unfinished jobs as one user may have."""

    code = "user_queue_full"


class JobsPerMinuteError(RateLimitedError):
    """The API key has made as many jobs as it may in a minute."""

    code = "jobs_per_minute"


class JobsAtOnceError(RateLimitedError):
    """The API key's user has as many unfinished jobs as the key allows."""

    code = "jobs_at_once"


class JobsPerDayError(RateLimitedError):
    """The API key has made as many jobs as it may on one day, in UTC."""

    code = "jobs_per_day"


class PaymentMalformedError(RequestError):
    """A payment, credit or quote header is not what its name says: wrong base64, JSON, numbers or fields."""

    code = "payment_malformed"


class PaymentRequiredError(RequestError):
    """The job must be paid for, and no payment came with it. ``offer`` is what the coordinator takes."""

    code = "payment_required"
    http_status = 402

    def __init__(self, message: str, offer: PaymentOffer | None = None) -> None:
        super().__init__(message)
        self.offer = offer


class PaymentVersionError(PaymentRequiredError):
    """The payment is of another version of x402 than the header that it came in."""

    code = "payment_version"


class PaymentMismatchError(PaymentRequiredError):
    """The payment is not the one that was asked for: other scheme, network, asset, amount or recipient."""

    code = "payment_mismatch"


class PaymentExpiredError(PaymentRequiredError):
    """The authorization has expired, or would before it could be settled."""

    code = "payment_expired"


class PaymentTooEarlyError(PaymentRequiredError):
    """The authorization is not valid yet."""

    code = "payment_too_early"


class PaymentRefusedError(PaymentRequiredError):
    """The payment did not stand the check: signature, state of the chain, or what a facilitator says."""

    code = "payment_refused"


class InsufficientFundsError(PaymentRequiredError):
    """The payer has less than the price, beyond what his other unfinished jobs will cost."""

    code = "insufficient_funds"


class PaymentUsedError(PaymentRequiredError):
    """The payment was used before, for another job."""

    code = "payment_already_used"


class PayerInDebtError(PaymentRequiredError):
    """So much of this payer's money did not come for completed jobs that he is given no more of them."""

    code = "payer_in_debt"


class CreditRefusedError(PaymentRequiredError):
    """The credit token is unknown, or what is left of it is less than the price."""

    code = "credit_refused"


class QuoteRefusedError(PaymentRequiredError):
    """The signed quote is not of this coordinator, is for another job or money elsewhere, or has expired."""

    code = "quote_refused"


class TooMuchUnsettledError(RateLimitedError):
    """The payer has as much that is not settled yet as one payer may have."""

    code = "too_much_unsettled"


class UnavailableError(ComputeRouterError):
    """The coordinator cannot serve this now; the same request may succeed later."""

    code = "unavailable"
    http_status = 503


class QueueFullError(UnavailableError):
    """The coordinator has as many unfinished jobs as it may have."""

    code = "queue_full"


class DrainingError(UnavailableError):
    """The coordinator is about to stop and takes no more jobs."""

    code = "draining"


class PaymentsUnavailableError(UnavailableError):
    """Payments cannot be checked now, so no paid job is taken in.

    ``retry_after_s`` is how many seconds later it may work.
    """

    code = "payments_unavailable"

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageUnavailableError(UnavailableError):
    """The database could not be written; nothing was stored."""

    code = "storage_unavailable"


class ConfigurationError(ComputeRouterError):
    """The process cannot start with these settings. The sentence says what to change."""

    code = "configuration"


class DatabaseInUseError(ConfigurationError):
    """Another coordinator holds this database."""

    code = "database_in_use"


class DatabaseTooNewError(ConfigurationError):
    """The database was written by a newer version."""

    code = "database_too_new"


class InvalidTransitionError(ComputeRouterError):
    """A job was asked to make a step that its state table does not have."""

    code = "invalid_transition"

    def __init__(self, status: str, event: str) -> None:
        super().__init__(f"A job that is {status} cannot {event}.")
        self.status = status
        self.event = event


class ReceiptError(ComputeRouterError):
    """A receipt does not prove what it should. ``code`` says which check failed."""

    code = "receipt_invalid"


class ReceiptMalformedError(ReceiptError):
    """The receipt is not an object with the five required fields, or a field has the wrong form."""

    code = "receipt_malformed"


class ReceiptJobMismatchError(ReceiptError):
    """The receipt names another job."""

    code = "receipt_job_mismatch"


class ReceiptKeyMismatchError(ReceiptError):
    """The receipt names another provider key."""

    code = "receipt_key_mismatch"


class ReceiptMissingError(ReceiptError):
    """The result came without a receipt, so nothing proves who made it."""

    code = "receipt_missing"


class ReceiptAttemptMismatchError(ReceiptError):
    """The receipt names another attempt at the job."""

    code = "receipt_attempt_mismatch"


class RequestHashMismatchError(ReceiptError):
    """The request does not have the hash that the receipt states."""

    code = "request_hash_mismatch"


class OutputHashMismatchError(ReceiptError):
    """The output does not have the hash that the receipt states."""

    code = "output_hash_mismatch"


class StatementMalformedError(ReceiptError):
    """The coordinator's statement about a job is not one, or is not in its exact form."""

    code = "statement_malformed"


class StatementMismatchError(ReceiptError):
    """The coordinator's statement is about another job, receipt, output or network, or by another key."""

    code = "statement_mismatch"


class BadSignatureError(ReceiptError):
    """The signature was not made by the key that the receipt names, over these bytes."""

    code = "bad_signature"


class SealingError(RequestError):
    """Something sealed end to end was not sealed, or cannot be opened."""

    code = "sealing_failed"


class UnusableKeyError(SealingError):
    """Nothing can be sealed to this key: it is no key, or one whose boxes anybody could open."""

    code = "unusable_key"


class SealedUnreadableError(SealingError):
    """A sealed payload or result cannot be opened with this key, or not for this job, or was changed."""

    code = "sealed_unreadable"
