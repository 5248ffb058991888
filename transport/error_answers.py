"""The one place where errors become JSON."""

from __future__ import annotations

import base64
import logging

import msgspec

from compute_router.protocol.errors import (
    AuthenticationError,
    ComputeRouterError,
    MethodNotAllowedError,
    NoTrustedWorkerError,
    PaymentRequiredError,
    PaymentsUnavailableError,
    PermissionDeniedError,
    RateLimitedError,
    UnavailableError,
    UpgradeRequiredError,
)
from compute_router.protocol.http_api import ErrorAnswer
from compute_router.protocol.payment_offer import REQUIRED_HEADER, PaymentOffer
from compute_router.transport.http_types import Answer, json_answer

logger = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = "1"

# RFC 6750, section 3: no error code for a request that came without a token.
_CHALLENGE = 'Bearer realm="compute-router"'
_INVALID = ', error="invalid_token"'
_INSUFFICIENT = ', error="insufficient_scope"'


def answer_for(error: Exception) -> Answer:
    """The answer that tells a client about an error. Unforeseen ones are logged and say nothing of ours."""
    if not isinstance(error, ComputeRouterError) or error.http_status == 500:
        logger.error("request failed", exc_info=error)
        body = ErrorAnswer("internal_error", "The coordinator failed to serve this request.")
        return json_answer(body, 500)
    if isinstance(error, PaymentRequiredError) and error.offer is not None:
        return _payment_required(error, error.offer)
    job_id = error.job_id if isinstance(error, NoTrustedWorkerError) else None
    answer = json_answer(ErrorAnswer(error.code, str(error), job_id), error.http_status)
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, MethodNotAllowedError):
        headers = (("Allow", error.allowed),)
    elif isinstance(error, UpgradeRequiredError):
        headers = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    elif isinstance(error, PaymentsUnavailableError):
        headers = (("Retry-After", str(error.retry_after_s)),)
    elif isinstance(error, UnavailableError):
        headers = (("Retry-After", _RETRY_AFTER_SECONDS),)
    elif isinstance(error, RateLimitedError):
        headers = (("Retry-After", str(error.retry_after_s)),)
    elif isinstance(error, AuthenticationError):
        headers = (("WWW-Authenticate", _CHALLENGE + _INVALID if error.presented else _CHALLENGE),)
    elif isinstance(error, PermissionDeniedError):
        headers = (("WWW-Authenticate", _CHALLENGE + _INSUFFICIENT),)
    return Answer(answer.status, answer.body, headers)


def _payment_required(error: PaymentRequiredError, offer: PaymentOffer) -> Answer:
    """A 402 in both versions of x402: version 2 in a header, version 1 in the body."""
    required = {
        "x402Version": 2,
        "error": error.code,
        "resource": msgspec.Raw(offer.resource),
        "accepts": msgspec.Raw(offer.accepts),
    }
    body = {
        "error": error.code,
        "message": str(error),
        "x402Version": 1,
        "accepts": msgspec.Raw(offer.accepts_v1),
    }
    header = base64.b64encode(msgspec.json.encode(required)).decode("ascii")
    return Answer(error.http_status, msgspec.json.encode(body), ((REQUIRED_HEADER, header),))
