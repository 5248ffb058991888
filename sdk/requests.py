"""The HTTP requests of the coordinator's API, as values."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

import msgspec

from compute_router.protocol.api_keys import KeyRequest
from compute_router.protocol.jobs import JobType, Policy
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.jobs import CheckedJob
from compute_router.sdk.steps import Call

LONG_POLL_GRACE_S: Final = 2.0
"""How much longer than asked a long poll may take before its connection counts as dead."""

_KEY_ID: Final = re.compile(r"[a-z0-9]{12}", re.ASCII)
_JOB_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


def health_call(read_timeout_s: float) -> Call:
    """Ask how the coordinator is."""
    return Call("GET", "/v1/health", read_timeout_s)


def quote_call(job_type: JobType, policy: Policy, read_timeout_s: float) -> Call:
    """Ask for a price and for the endpoint to commit to."""
    query = urlencode({"job_type": job_type.value, "policy": policy.value})
    return Call("GET", f"/v1/quote?{query}", read_timeout_s)


def commit_call(
    endpoint: str,
    job: CheckedJob,
    user_id: str,
    read_timeout_s: float,
    idempotency_key: str,
    sealed_payload: bytes | None = None,
) -> Call:
    """Submit a job. The privacy class is always spelt out, so that no default of the other side decides.

    A ``sealed_payload`` goes out in place of the job's own, byte for byte.
    """
    body: dict[str, Any] = {
        "job_type": job.job_type.value,
        "user_id": user_id,
        "payload": job.payload if sealed_payload is None else msgspec.Raw(sealed_payload),
        "privacy_class": job.privacy.value,
    }
    chosen = {"model": job.model, "ttl_s": job.ttl_s, "deadline_s": job.deadline_s}
    body |= {name: value for name, value in chosen.items() if value is not None}
    return Call("POST", endpoint, read_timeout_s, _json(body), idempotency_key=idempotency_key)


def receipt_call(job_id: str, read_timeout_s: float) -> Call:
    """Ask for the receipt of a job.

    Raises:
        InvalidArgumentError: this cannot be a job id.
    """
    return Call("GET", f"/v1/receipts/{_checked_id(job_id)}", read_timeout_s)


def job_call(job_id: str, wait_s: int, read_timeout_s: float) -> Call:
    """Ask for a job; ``wait_s`` above 0 asks the coordinator to hold the answer until the job ends.

    Raises:
        InvalidArgumentError: this cannot be a job id.
    """
    path = _job_path(job_id)
    if wait_s == 0:
        return Call("GET", path, read_timeout_s)
    return Call("GET", f"{path}?wait={wait_s}", max(read_timeout_s, wait_s + LONG_POLL_GRACE_S))


def cancel_call(job_id: str, read_timeout_s: float) -> Call:
    """Cancel a job.

    Raises:
        InvalidArgumentError: this cannot be a job id.
    """
    return Call("DELETE", _job_path(job_id), read_timeout_s)


def trust_create_call(user_id: str, read_timeout_s: float, user_token: str | None = None) -> Call:
    """Ask for a pairing code."""
    body = _json({"user_id": user_id})
    return Call("POST", "/v1/trust/create", read_timeout_s, body, bearer=user_token)


def trust_claim_call(pairing_code: str, provider_pubkey: str, read_timeout_s: float) -> Call:
    """Use a pairing code on behalf of a worker."""
    body = {"pairing_code": pairing_code, "provider_pubkey": provider_pubkey}
    return Call("POST", "/v1/trust/claim", read_timeout_s, _json(body))


def trust_list_call(user_id: str, read_timeout_s: float) -> Call:
    """Ask which workers are paired with a user."""
    return Call("GET", f"/v1/trust/list?user_id={_encoded(user_id)}", read_timeout_s)


def key_create_call(wanted: KeyRequest, read_timeout_s: float) -> Call:
    """Make an API key."""
    return Call("POST", "/v1/keys", read_timeout_s, _json(msgspec.to_builtins(wanted)))


def earnings_call(pubkey: str, read_timeout_s: float) -> Call:
    """Ask what a worker earned. ``pubkey`` is 64 hex digits."""
    return Call("GET", f"/v1/workers/{pubkey}/earnings", read_timeout_s)


def key_list_call(read_timeout_s: float) -> Call:
    """Ask for all API keys."""
    return Call("GET", "/v1/keys", read_timeout_s)


def key_revoke_call(key_id: str, read_timeout_s: float) -> Call:
    """Revoke an API key.

    Raises:
        InvalidArgumentError: this cannot be the id of a key; without the text, which may be a whole key.
    """
    if not _KEY_ID.fullmatch(key_id):
        raise InvalidArgumentError("This is not the id of an API key: 12 small letters and digits.")
    return Call("DELETE", f"/v1/keys/{key_id}", read_timeout_s)


def trust_revoke_call(
    user_id: str, provider_pubkey: str, read_timeout_s: float, user_token: str | None = None
) -> Call:
    """End a pairing."""
    path = f"/v1/trust/{provider_pubkey}?user_id={_encoded(user_id)}"
    return Call("DELETE", path, read_timeout_s, bearer=user_token)


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{_checked_id(job_id)}"


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job id."""
    return _JOB_ID.fullmatch(text) is not None


def _checked_id(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise InvalidArgumentError(f"{job_id!r} is not a job id.")
    return job_id


def _json(body: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise InvalidArgumentError("The text holds characters that are not Unicode.") from None


def _encoded(text: str) -> str:
    try:
        return percent_encode(text, safe="")
    except UnicodeEncodeError:
        raise InvalidArgumentError("The text holds characters that are not Unicode.") from None
