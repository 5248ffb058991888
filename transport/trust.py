"""``/v1/trust/*``: pairing a user with workers that may run his PRIVATE jobs."""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from compute_router.actors.messages import ClaimPairing, CreatePairing, ListPairings, TrustGranted
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import (
    AlreadyClaimedError,
    ExpiredError,
    InvalidCodeError,
    RequestError,
)
from compute_router.protocol.http_api import (
    Provider,
    TrustClaimAnswer,
    TrustClaimRequest,
    TrustCreateAnswer,
    TrustCreateRequest,
    TrustListAnswer,
)
from compute_router.protocol.jobs import UserId
from compute_router.protocol.units import UnixMs, iso_from_unix_ms
from compute_router.storage.interface import ClaimRefusal
from compute_router.transport.http_types import Answer, Request, json_answer

CODE_LIFETIME_MS: Final = 60 * 60 * 1000

# Crockford's base 32: no letter that can be taken for a digit. Ten of them are 50 random bits.
_CODE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH: Final = 10

_CREATES: Final = msgspec.json.Decoder(TrustCreateRequest)
_CLAIMS: Final = msgspec.json.Decoder(TrustClaimRequest)

_REFUSALS: Final = {
    ClaimRefusal.INVALID_CODE: InvalidCodeError("There is no such pairing code."),
    ClaimRefusal.ALREADY_CLAIMED: AlreadyClaimedError("This pairing code was used already."),
    ClaimRefusal.EXPIRED: ExpiredError("This pairing code is too old; ask for a new one."),
}


class TrustResource:
    """Makes codes for users, takes them from workers, lists what was paired."""

    def __init__(self, system: System) -> None:
        self._system = system

    async def create(self, request: Request, variable: str) -> Answer:
        body = request.json(_CREATES.decode)
        code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_LENGTH))
        now = self._system.clock.unix_ms()
        expires_at = UnixMs(now + CODE_LIFETIME_MS)
        await ask(self._system.store, CreatePairing(body.user_id, code, now, expires_at))
        return json_answer(TrustCreateAnswer(code, iso_from_unix_ms(expires_at)), 201)

    async def claim(self, request: Request, variable: str) -> Answer:
        body = request.json(_CLAIMS.decode)
        now = self._system.clock.unix_ms()
        pairing = await ask(self._system.store, ClaimPairing(body.pairing_code, body.provider_pubkey, now))
        if isinstance(pairing, ClaimRefusal):
            raise _REFUSALS[pairing]
        self._system.matcher.tell(TrustGranted(pairing.user_id, pairing.provider_pubkey))
        return json_answer(TrustClaimAnswer(pairing.user_id, iso_from_unix_ms(pairing.paired_at)))

    async def list(self, request: Request, variable: str) -> Answer:
        user_id = _user_id(request.required_query("user_id"))
        pairings = await ask(self._system.store, ListPairings(user_id))
        return json_answer(
            TrustListAnswer([Provider(p.provider_pubkey, iso_from_unix_ms(p.paired_at)) for p in pairings])
        )


def _user_id(text: str) -> str:
    try:
        return msgspec.convert(text, UserId)
    except msgspec.ValidationError as error:
        raise RequestError(f"user_id: {error}.") from None
