"""Pairing: telling the coordinator that this worker belongs to the user who made the code."""

from __future__ import annotations

from typing import ClassVar, Final, TypeVar

import httpx
import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.http_api import TrustClaimAnswer, TrustClaimRequest
from compute_router.protocol.pairing import sign_claim
from compute_router.protocol.receipts import public_key_hex

T = TypeVar("T")

_REFUSALS: Final = {
    "invalid_code": "the coordinator knows no such code; one that was guessed at is dead, so make a new one",
    "already_claimed": "the code was used before",
    "expired": "the code is too old",
}


class PairingError(ComputeRouterError):
    """The pairing was not made; the sentence says why."""

    code: ClassVar[str] = "pairing_failed"


def claim_pairing(client: httpx.Client, coordinator_url: str, code: str, key: SigningKey) -> TrustClaimAnswer:
    """Redeem a pairing code for this worker's key, signed by it for the coordinator's network and this code.

    Raises:
        PairingError: the code was refused, or the coordinator did not answer as it should.
    """
    network = _asked(client, "GET", f"{coordinator_url}/v1/health", _Health).network
    request = TrustClaimRequest(
        pairing_code=code, provider_pubkey=public_key_hex(key), signature=sign_claim(key, network, code)
    )
    return _asked(client, "POST", f"{coordinator_url}/v1/trust/claim", TrustClaimAnswer, request)


def _asked(
    client: httpx.Client, method: str, url: str, kind: type[T], body: TrustClaimRequest | None = None
) -> T:
    content = None if body is None else msgspec.json.encode(body)
    try:
        answer = client.request(method, url, content=content, headers={"content-type": "application/json"})
    except httpx.HTTPError as error:
        raise PairingError(
            f"Pairing failed: the coordinator cannot be reached at {url} ({error})."
        ) from error
    try:
        if answer.status_code == httpx.codes.OK:
            return msgspec.json.decode(answer.content, type=kind)
        refusal = msgspec.json.decode(answer.content, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PairingError(
            f"Pairing failed: {url} answered {answer.status_code}, and not as a coordinator does."
        ) from error
    reason = _REFUSALS.get(refusal.error) or refusal.message or refusal.error
    raise PairingError(f"Pairing was refused: {reason.rstrip('.')}.")


class _Health(msgspec.Struct, frozen=True):
    network: str


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    message: str | None = None
