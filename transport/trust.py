"""``/v1/trust/*``: pairing a user with workers that may run his PRIVATE jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from compute_router.actors.messages.matcher import TrustGranted, TrustRevoked
from compute_router.actors.messages.stored_trust import (
    ClaimPairing,
    CreatePairing,
    ListPairings,
    RevokePairing,
)
from compute_router.actors.ownership import OwnerProof, OwnerRefusal
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.api_keys import KeyScope, key_id_of
from compute_router.protocol.errors import (
    AlreadyClaimedError,
    AuthenticationError,
    ExpiredError,
    InvalidCodeError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RequestError,
)
from compute_router.protocol.http_api import (
    Provider,
    TrustClaimAnswer,
    TrustClaimRequest,
    TrustCreateAnswer,
    TrustCreateRequest,
    TrustListAnswer,
    TrustRevokeAnswer,
)
from compute_router.protocol.jobs import UserId
from compute_router.protocol.pairing import (
    CODE_LIFETIME,
    hash_user_token,
    is_user_token,
    new_pairing_code,
    new_user_token,
    verify_claim,
)
from compute_router.protocol.receipts import PublicKeyHex
from compute_router.protocol.units import UnixMs, iso_from_unix_ms
from compute_router.storage.interface import ApiKey, ClaimRefusal
from compute_router.transport.authentication import Authentication, check_user
from compute_router.transport.bearer import bearer_token
from compute_router.transport.http_types import Answer, Request, json_answer
from compute_router.transport.wrong_claims import WrongClaims

T = TypeVar("T")

_CREATES: Final = msgspec.json.Decoder(TrustCreateRequest)
_CLAIMS: Final = msgspec.json.Decoder(TrustClaimRequest)

# The largest user_id, with each character escaped, needs 3 KiB.
_MAX_BODY_BYTES: Final = 4096

# Kinds and not errors: one error that is raised again and again keeps every request that it ever refused.
_REFUSALS: Final[dict[ClaimRefusal, tuple[type[RequestError], str]]] = {
    ClaimRefusal.INVALID_CODE: (InvalidCodeError, "There is no such pairing code."),
    ClaimRefusal.ALREADY_CLAIMED: (AlreadyClaimedError, "This pairing code was used already."),
    ClaimRefusal.EXPIRED: (ExpiredError, "This pairing code is too old; ask for a new one."),
}


class TrustResource:
    """Makes codes for users, takes them from workers, lists what was paired, and ends it.

    A user id is owned by whoever made its first code: a token came with that, or was chosen by the caller.
    Codes are made and pairings ended only for who shows that token, or an API key that may act for the user.
    A user who has pairings or came with an API key, but has no token, is nobody's for the taking: in the open
    mode an admin key gets the token.
    """

    def __init__(self, system: System, authentication: Authentication) -> None:
        self._system = system
        self._authentication = authentication
        self._wrong_claims = WrongClaims(system.clock.steady_ms)

    async def create(self, request: Request, variable: str) -> Answer:
        caller = self._authentication.caller(request)
        body = _body(request, _CREATES.decode)
        check_user(caller, body.user_id)
        token, proof = self._proof(request, caller)
        # Whoever could lose the answer brings a token of his own, and is not locked out by that.
        # A user who comes with an API key is its own from then on, and has no token to lose.
        new_token = token or new_user_token() if caller is None else None
        code = new_pairing_code()
        now = self._system.clock.unix_ms()
        expires_at = UnixMs(now + CODE_LIFETIME)
        new_owner = None if new_token is None else hash_user_token(new_token)
        became_owned = await ask(
            self._system.store, CreatePairing(body.user_id, code, now, expires_at, proof, new_owner)
        )
        _refuse(became_owned)
        user_token = new_token if became_owned else None
        return json_answer(TrustCreateAnswer(code, iso_from_unix_ms(expires_at), user_token), 201)

    async def claim(self, request: Request, variable: str) -> Answer:
        body = _body(request, _CLAIMS.decode)
        code, pubkey, signed = body.pairing_code, body.provider_pubkey, body.signature is not None
        if body.signature is not None:
            verify_claim(self._system.network.caip2, code, pubkey, body.signature)
        self._wrong_claims.begin(request.address)
        now = self._system.clock.unix_ms()
        pairing = None
        try:
            pairing = await ask(self._system.store, ClaimPairing(code, pubkey, now, signed))
        finally:
            if pairing is not ClaimRefusal.INVALID_CODE:
                self._wrong_claims.was_right(request.address)
        if isinstance(pairing, ClaimRefusal):
            kind, sentence = _REFUSALS[pairing]
            raise kind(sentence)
        self._system.matcher.tell(TrustGranted(pairing.user_id, pairing.provider_pubkey))
        return json_answer(TrustClaimAnswer(pairing.user_id, iso_from_unix_ms(pairing.paired_at)))

    async def list(self, request: Request, variable: str) -> Answer:
        caller = self._authentication.caller(request)
        user_id = _user_id(request.required_query("user_id"))
        check_user(caller, user_id)
        _, proof = self._proof(request, caller)
        pairings = await ask(self._system.store, ListPairings(user_id, proof))
        _refuse(pairings)
        return json_answer(
            TrustListAnswer(
                [Provider(p.provider_pubkey, iso_from_unix_ms(p.paired_at), p.signed) for p in pairings]
            )
        )

    async def revoke(self, request: Request, variable: str) -> Answer:
        caller = self._authentication.caller(request)
        pubkey = _pubkey(variable)
        user_id = _user_id(request.required_query("user_id"))
        check_user(caller, user_id)
        _, proof = self._proof(request, caller)
        now = self._system.clock.unix_ms()
        revoked = await ask(self._system.store, RevokePairing(user_id, pubkey, proof))
        _refuse(revoked)
        if not revoked:
            raise NotFoundError("This user is not paired with this worker.")
        self._system.matcher.tell(TrustRevoked(user_id, pubkey))
        return json_answer(TrustRevokeAnswer(user_id, pubkey, iso_from_unix_ms(now)))

    def _proof(self, request: Request, caller: ApiKey | None) -> tuple[str | None, OwnerProof]:
        """The user token of a request, if one came, and what shows that the owner sent it.

        An API key that was checked for the user stands for the owner, and so does an admin key in the open
        mode, in which other keys show nothing.
        """
        if caller is not None:
            return None, OwnerProof(vouched=True)
        token = bearer_token(request)
        if token is None:
            return None, OwnerProof()
        if key_id_of(token) is not None:
            key = self._authentication.ring.find(token)
            return None, OwnerProof(vouched=key is not None and key.scope is KeyScope.ADMIN)
        if not is_user_token(token):
            raise PermissionDeniedError("This is not the token of this user.")
        return token, OwnerProof(hash_user_token(token))


def _body(request: Request, decode: Callable[[bytes], T]) -> T:
    if len(request.body) > _MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"The body may have at most {_MAX_BODY_BYTES} bytes here.")
    return request.json(decode)


def _refuse(answer: object) -> None:
    if answer is OwnerRefusal.LOCKED:
        raise PermissionDeniedError(
            "This user has pairings or API keys but no user_token. Act for it with an API key. Where none is "
            "needed, the operator gets it a token with an admin key: POST /v1/trust/create answers with one."
        )
    if answer is OwnerRefusal.TOKEN_MISSING:
        raise AuthenticationError(
            "This user is owned: send the user_token that came with its first pairing code, as "
            "Authorization: Bearer TOKEN."
        )
    if answer is OwnerRefusal.TOKEN_WRONG:
        raise PermissionDeniedError("This is not the token of this user.")


def _pubkey(text: str) -> str:
    try:
        return msgspec.convert(text, PublicKeyHex)
    except msgspec.ValidationError:
        raise RequestError("A provider_pubkey is 64 lowercase hex digits.") from None


def _user_id(text: str) -> str:
    try:
        return msgspec.convert(text, UserId)
    except msgspec.ValidationError as error:
        raise RequestError(f"user_id: {error}.") from None
