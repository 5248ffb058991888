"""Pairing: telling the coordinator that this worker belongs to the user who made the code."""

from __future__ import annotations

from typing import ClassVar, Final

import httpx
import msgspec

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.http_api import TrustClaimAnswer, TrustClaimRequest

_REFUSALS: Final = {
    "invalid_code": "the coordinator knows no such code",
    "already_claimed": "the code was used before",
    "expired": "the code is too old",
}


class PairingError(ComputeRouterError):
    """The pairing was not made; the sentence says why."""

    code: ClassVar[str] = "pairing_failed"


def claim_pairing(client: httpx.Client, coordinator_url: str, code: str, pubkey: str) -> TrustClaimAnswer:
    """Redeem a pairing code for this worker's key.

    Raises:
        PairingError: the code was refused, or the coordinator did not answer as it should.
    """
    request = msgspec.json.encode(TrustClaimRequest(pairing_code=code, provider_pubkey=pubkey))
    try:
        answer = client.post(
            f"{coordinator_url}/v1/trust/claim",
            content=request,
            headers={"content-type": "application/json"},
        )
    except httpx.HTTPError as error:
        raise PairingError(
            f"Pairing failed: the coordinator at {coordinator_url} cannot be reached ({error})."
        ) from error
    try:
        if answer.status_code == httpx.codes.OK:
            return msgspec.json.decode(answer.content, type=TrustClaimAnswer)
        refusal = msgspec.json.decode(answer.content, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PairingError(
            f"Pairing failed: {coordinator_url} answered {answer.status_code}, and not as a coordinator does."
        ) from error
    reason = _REFUSALS.get(refusal.error) or refusal.message or refusal.error
    raise PairingError(f"Pairing was refused: {reason.rstrip('.')}.")


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    message: str | None = None
