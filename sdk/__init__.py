"""Client of the compute network: run inference and tasks, and check who made the results.

with ComputeRouter(user_id="alice") as router:
    print(router.run_llm("Why is the sky blue?").text)
"""

from __future__ import annotations

from compute_router.protocol.api_keys import KeyInfo, KeyScope, NewKeyAnswer, RevokedKeyAnswer
from compute_router.protocol.errors import (
    AuthenticationError,
    ComputeRouterError,
    IdempotencyConflictError,
    JobUnfinishedError,
    NotFoundError,
    NoTrustedWorkerError,
    PaymentInProgressError,
    PermissionDeniedError,
    ReceiptError,
    ReceiptMissingError,
    RequestError,
    SealedUnreadableError,
    SealingError,
)
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, Policy, PrivacyClass, TaskType, Tier
from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.receipts import Receipt
from compute_router.sdk.answers import Quote, ReceiptDocument
from compute_router.sdk.api_keys import KeyLimits
from compute_router.sdk.async_client import AsyncComputeRouter
from compute_router.sdk.errors import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    FallbackFailedError,
    FingerprintMismatchError,
    InvalidArgumentError,
    JobCancelledError,
    JobFailedError,
    JobFinishedError,
    JobTimeoutError,
    NoPinnedWorkerError,
    PairingTimeoutError,
    PaymentRefusedError,
    PaymentRequiredError,
    PriceMismatchError,
    RefusedError,
    ResultKeyMissingError,
    SealedDowngradeError,
    SealingNotSupportedError,
    SpendingCapError,
    SubmissionUnknownError,
    TokenMissingError,
    TooManyRequestsError,
    UnacceptableOfferError,
    UnexpectedAnswerError,
    UnsignedClaimError,
    WalletError,
    WrongNetworkError,
    WrongTokenError,
)
from compute_router.sdk.fallback import Fallback
from compute_router.sdk.job_payment import JobPayment
from compute_router.sdk.jobs import LlmJob, TaskJob
from compute_router.sdk.pairing import PairingCode
from compute_router.sdk.results import (
    ClassificationResult,
    ExtractionResult,
    JobResult,
    LlmResult,
    SummaryResult,
    TaskResult,
)
from compute_router.sdk.sealing import JobHandle, ReplyKey
from compute_router.sdk.snapshots import JobSnapshot
from compute_router.sdk.spending import PaymentPlan, SpendingCaps
from compute_router.sdk.sync_client import ComputeRouter
from compute_router.sdk.trust_file import TrustFile, TrustFileError
from compute_router.sdk.verification import Verification
from compute_router.sdk.wallet import Wallet

__all__ = [
    "AsyncComputeRouter",
    "AuthenticationError",
    "Chain",
    "ClassificationResult",
    "ComputeRouter",
    "ComputeRouterError",
    "CoordinatorFailedError",
    "CoordinatorUnreachableError",
    "ExtractionResult",
    "Fallback",
    "FallbackFailedError",
    "FingerprintMismatchError",
    "IdempotencyConflictError",
    "InvalidArgumentError",
    "JobCancelledError",
    "JobFailedError",
    "JobFinishedError",
    "JobHandle",
    "JobPayment",
    "JobResult",
    "JobSnapshot",
    "JobStatus",
    "JobTimeoutError",
    "JobType",
    "JobUnfinishedError",
    "KeyInfo",
    "KeyLimits",
    "KeyScope",
    "LlmJob",
    "LlmResult",
    "NewKeyAnswer",
    "NoPinnedWorkerError",
    "NoTrustedWorkerError",
    "NotFoundError",
    "PairingCode",
    "PairingTimeoutError",
    "PaymentInProgressError",
    "PaymentPlan",
    "PaymentRefusedError",
    "PaymentRequiredError",
    "PaymentState",
    "PermissionDeniedError",
    "Policy",
    "PriceMismatchError",
    "PrivacyClass",
    "Quote",
    "Receipt",
    "ReceiptDocument",
    "ReceiptError",
    "ReceiptMissingError",
    "RefusedError",
    "ReplyKey",
    "RequestError",
    "ResultKeyMissingError",
    "RevokedKeyAnswer",
    "SealedDowngradeError",
    "SealedUnreadableError",
    "SealingError",
    "SealingNotSupportedError",
    "SpendingCapError",
    "SpendingCaps",
    "SubmissionUnknownError",
    "SummaryResult",
    "TaskJob",
    "TaskResult",
    "TaskType",
    "Tier",
    "TokenMissingError",
    "TooManyRequestsError",
    "TrustFile",
    "TrustFileError",
    "UnacceptableOfferError",
    "UnexpectedAnswerError",
    "UnsignedClaimError",
    "Verification",
    "Wallet",
    "WalletError",
    "WrongNetworkError",
    "WrongTokenError",
]
