"""Pairing from the user's side: making codes, waiting for the worker, pinning its key, ending it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from compute_router.protocol.errors import AuthenticationError, ComputeRouterError, PermissionDeniedError
from compute_router.protocol.http_api import (
    Provider,
    TrustClaimAnswer,
    TrustCreateAnswer,
    TrustListAnswer,
    TrustRevokeAnswer,
)
from compute_router.protocol.pairing import key_fingerprint
from compute_router.sdk.answers import read_answer, read_health
from compute_router.sdk.asking import ask
from compute_router.sdk.errors import (
    FingerprintMismatchError,
    PairingTimeoutError,
    TokenMissingError,
    UnsignedClaimError,
    WrongNetworkError,
    WrongTokenError,
)
from compute_router.sdk.requests import (
    health_call,
    trust_claim_call,
    trust_create_call,
    trust_list_call,
    trust_revoke_call,
)
from compute_router.sdk.retries import Clock, Retries
from compute_router.sdk.settings import Settings
from compute_router.sdk.steps import Answered, Call, Flow, Reply, call, local, pause
from compute_router.sdk.trust_file import TrustFile, checked_pubkey, token_address

POLL_INTERVAL_S: Final = 1.0
CODE_LIFETIME_S: Final = 3600.0
_UNAUTHORIZED: Final = AuthenticationError.http_status


class PairingCode(msgspec.Struct, frozen=True):
    """A single-use code. ``known`` are the keys that the user was paired with when it was made."""

    pairing_code: str
    expires_at: str
    known: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the code, which pairs whoever has it."""
        return f"PairingCode(expires_at={self.expires_at!r})"


class Pairings:
    """Flows for a user's pairings.

    The coordinator's network is asked for before anything is sent or kept: tokens and pins of one network
    never meet another, and a token goes to no address but that which it was made for. With an API key no
    token is made, because the key stands for the user; one that is there all the same is tried when the key
    was not enough, for some coordinators want no keys.
    """

    def __init__(
        self,
        settings: Settings,
        trust_file: TrustFile,
        user: Callable[[], str],
        retries: Callable[[float], Retries],
        clock: Clock,
        request_timeout_s: float,
    ) -> None:
        self._settings = settings
        self._trust = trust_file
        self._user = user
        self._retries = retries
        self._clock = clock
        self._timeout_s = request_timeout_s
        self._known_network: str | None = None
        self._address = settings.base_url

    def create(self) -> Flow[PairingCode]:
        """Make a code. The token that owns the user is kept on disk before it is first sent."""
        user_id = self._user()
        network = yield from self._network()
        token, new = None, False
        if self._settings.api_key is None:
            token, new = yield from local(lambda: self._trust.token_or_new(network, user_id, self._address))
        known = tuple(provider.provider_pubkey for provider in (yield from self.list()))
        reply = yield from self._as_owner(
            network, user_id, token, lambda sent: trust_create_call(user_id, self._timeout_s, sent)
        )
        try:
            answer = read_answer(reply, TrustCreateAnswer, expected_status=201)
        except (AuthenticationError, PermissionDeniedError) as error:
            if token is None:
                raise
            if new:
                yield from local(lambda: self._trust.drop_token(network, user_id, self._address, token))
                raise (yield from self._token_missing(network, user_id, error)) from error
            raise self._token_wrong(user_id) from error
        given = answer.user_token
        if given is not None and given != token:
            yield from local(lambda: self._trust.keep_token(network, user_id, self._address, given))
        return PairingCode(answer.pairing_code, answer.expires_at, known)

    def wait_for(
        self, code: PairingCode, timeout_s: float, fingerprint: str | None, *, allow_unsigned: bool
    ) -> Flow[Provider]:
        """Ask until a key is there that was not when the code was made, and pin it."""
        network = yield from self._network()
        deadline = self._clock() + timeout_s
        while True:
            request = trust_list_call(self._user(), self._timeout_s)
            answer = yield from ask(request, self._retries(deadline - self._clock()))
            new = [
                provider
                for provider in read_answer(answer, TrustListAnswer).providers
                if provider.provider_pubkey not in code.known
            ]
            if new:
                yield from self._pin_if_expected(network, new[0], fingerprint, allow_unsigned)
                return new[0]
            remaining_s = deadline - self._clock()
            if remaining_s <= 0:
                raise PairingTimeoutError(
                    f"No new worker used the pairing code within {timeout_s:g} s. One that was paired before "
                    "is not new: pin its key with: compute-router trust pin PUBKEY"
                )
            yield from pause(min(POLL_INTERVAL_S, remaining_s))

    def claim(self, pairing_code: str, provider_pubkey: str) -> Flow[TrustClaimAnswer]:
        """Use a code on behalf of a worker."""
        reply = yield from call(trust_claim_call(pairing_code, provider_pubkey, self._timeout_s))
        return read_answer(reply, TrustClaimAnswer)

    def list(self) -> Flow[list[Provider]]:
        """The workers paired with the user, by the coordinator's word."""
        reply = yield from call(trust_list_call(self._user(), self._timeout_s))
        return read_answer(reply, TrustListAnswer).providers

    def pinned(self) -> Flow[tuple[str, ...]]:
        """The keys pinned on this machine."""
        user_id = self._user()
        network = yield from self._network()
        return (yield from local(lambda: self._trust.pinned(network, user_id)))

    def pin(self, pubkey: str) -> Flow[None]:
        """Pin a key that the user compared."""
        user_id, key = self._user(), checked_pubkey(pubkey)
        network = yield from self._network()
        yield from local(lambda: self._trust.pin(network, user_id, key))

    def unpin(self, pubkey: str) -> Flow[bool]:
        """Pin a key no more."""
        user_id, key = self._user(), checked_pubkey(pubkey)
        network = yield from self._network()
        return (yield from local(lambda: self._trust.unpin(network, user_id, key)))

    def revoke(self, pubkey: str) -> Flow[TrustRevokeAnswer]:
        """Unpin a key, then end the pairing: nothing is sealed to it any more even if the second fails."""
        user_id, key = self._user(), checked_pubkey(pubkey)
        network = yield from self._network()
        yield from local(lambda: self._trust.unpin(network, user_id, key))
        token = None
        if self._settings.api_key is None:
            token = yield from local(lambda: self._trust.token(network, user_id, self._address))
            if token is None:
                raise (yield from self._token_missing(network, user_id))
        reply = yield from self._as_owner(
            network, user_id, token, lambda sent: trust_revoke_call(user_id, key, self._timeout_s, sent)
        )
        try:
            return read_answer(reply, TrustRevokeAnswer)
        except PermissionDeniedError as error:
            if token is None:
                raise
            raise self._token_wrong(user_id) from error

    def _as_owner(
        self, network: str, user_id: str, token: str | None, request: Callable[[str | None], Call]
    ) -> Flow[Reply]:
        reply = yield from call(request(token))
        if token is None and isinstance(reply, Answered) and reply.status == _UNAUTHORIZED:
            kept = yield from local(lambda: self._trust.token(network, user_id, self._address))
            if kept is not None:
                reply = yield from call(request(kept))
        return reply

    def _pin_if_expected(
        self, network: str, provider: Provider, fingerprint: str | None, allow_unsigned: bool
    ) -> Flow[None]:
        key = checked_pubkey(provider.provider_pubkey)
        found = key_fingerprint(key)
        if fingerprint is not None and "".join(fingerprint.split()).lower() != found.replace(" ", ""):
            raise FingerprintMismatchError(
                f"The key that used the code has the fingerprint {found}, which is not the one expected. It "
                f"was not pinned; end the pairing with: compute-router trust revoke {key}",
                key,
            )
        if fingerprint is None and not provider.signed and not allow_unsigned:
            raise UnsignedClaimError(
                f"The code was used for a key that did not sign for it, fingerprint {found}: anybody who saw "
                "the code may have named it. It was not pinned. If the worker prints that fingerprint: "
                f"compute-router trust pin {key} -- if not: compute-router trust revoke {key} -- To pin such "
                "keys next time: --fingerprint TEXT, or --allow-unsigned.",
                key,
            )
        yield from local(lambda: self._trust.pin(network, self._user(), key))

    def _network(self) -> Flow[str]:
        if self._known_network is None:
            network = read_health((yield from call(health_call(self._timeout_s)))).network
            expected = self._settings.expected_network
            if expected is not None and network != expected:
                raise WrongNetworkError(
                    f"The coordinator at {self._settings.base_url} serves {network}, not {expected}."
                )
            self._known_network = network
        return self._known_network

    def _token_missing(
        self, network: str, user_id: str, said: ComputeRouterError | None = None
    ) -> Flow[TokenMissingError]:
        others = yield from local(lambda: self._trust.token_addresses(network, user_id))
        address = token_address(self._address)
        sentence = (
            f"The user {user_id!r} is owned at {address} by a token that is not in {self._trust.path}. It is "
            "kept where the first pairing code of this user was made: work there, or name that trust file by "
            "--trust-file or COMPUTE_ROUTER_TRUST_FILE. If it was never yours, choose another user id."
        )
        if others:
            sentence += (
                f" The file has a token for {', '.join(others)}, which is sent nowhere else. If this is the "
                f'same coordinator, copy it there by hand: "tokens": {{"{address}": "crt_..."}}.'
            )
        if said is not None:
            sentence += f" The coordinator says: {said}"
        return TokenMissingError(sentence, self._trust.path)

    def _token_wrong(self, user_id: str) -> WrongTokenError:
        return WrongTokenError(
            f"The token in {self._trust.path} does not own the user {user_id!r} at this coordinator. Use the "
            "trust file with which its first pairing code was made, or choose another user id.",
            self._trust.path,
        )
