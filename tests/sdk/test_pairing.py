"""Owning a user id, pairing, pinning and revoking by the clients."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from compute_router.protocol.errors import AuthenticationError, NotFoundError, PermissionDeniedError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.pairing import is_user_token, key_fingerprint
from compute_router.sdk import (
    AsyncComputeRouter,
    ComputeRouter,
    CoordinatorUnreachableError,
    FingerprintMismatchError,
    InvalidArgumentError,
    PairingTimeoutError,
    TokenMissingError,
    TrustFile,
    TrustFileError,
    UnsignedClaimError,
    WrongNetworkError,
    WrongTokenError,
)
from tests.fakes.pairing_coordinator import PairingCoordinator
from tests.sdk.clients import URL, longest

NETWORK = NETWORKS[Chain.SOLANA].caip2
A, B = "a" * 64, "b" * 64
API_KEY = "crk_" + "k" * 12 + "_" + "s" * 43


def client(
    coordinator: PairingCoordinator,
    *,
    user_id: str | None = "alice",
    trust_file: Path | TrustFile | None = None,
    chain: Chain | None = None,
    api_key: str | None = None,
    url: str = URL,
) -> ComputeRouter:
    return ComputeRouter(
        url,
        user_id=user_id,
        chain=chain,
        api_key=api_key,
        trust_file=trust_file,
        transport=coordinator.transport(),
        clock=coordinator.clock,
        jitter=longest,
        sleep=coordinator.clock.sleep,
    )


# The token


def test_the_first_code_makes_a_token_that_is_kept_and_sent_with_later_codes(trust_path: Path) -> None:
    coordinator = PairingCoordinator()
    with client(coordinator) as router:
        assert [router.create_pairing().pairing_code for _ in range(2)] == ["CODE0", "CODE1"]
    with client(coordinator) as router:
        assert router.create_pairing().pairing_code == "CODE2"
    token = TrustFile(trust_path).token(NETWORK, "alice", URL)
    assert token is not None
    assert is_user_token(token)
    assert coordinator.tokens == [token] * 3


def test_the_token_is_on_disk_before_it_is_sent_so_a_lost_answer_locks_nobody_out(trust_path: Path) -> None:
    coordinator = PairingCoordinator(lose=1)
    with client(coordinator) as router:
        with pytest.raises(CoordinatorUnreachableError):
            router.create_pairing()
        assert TrustFile(trust_path).token(NETWORK, "alice", URL) == coordinator.owners["alice"]
        assert router.create_pairing().pairing_code == "CODE1"


def test_a_token_that_the_coordinator_made_is_kept_in_place_of_ours(trust_path: Path) -> None:
    coordinator = PairingCoordinator(issues="crt_" + "x" * 43)
    with client(coordinator) as router:
        router.create_pairing()
        router.create_pairing()
    assert TrustFile(trust_path).token(NETWORK, "alice", URL) == "crt_" + "x" * 43


def test_each_user_and_each_network_has_a_token_of_its_own(trust_path: Path) -> None:
    solana, monad = PairingCoordinator(), PairingCoordinator(chain=Chain.MONAD)
    for coordinator, user_id in ((solana, "alice"), (solana, "bob"), (monad, "alice")):
        with client(coordinator, user_id=user_id) as router:
            router.create_pairing()
    assert len({*solana.tokens, *monad.tokens}) == 3


def test_without_the_token_of_an_owned_user_the_error_says_where_it_is_kept(trust_path: Path) -> None:
    coordinator = PairingCoordinator(owners={"alice": "crt_elsewhere"})
    with client(coordinator) as router:
        for _ in range(2):
            with pytest.raises(TokenMissingError, match="--trust-file") as refused:
                router.create_pairing()
    assert isinstance(refused.value, AuthenticationError)
    assert refused.value.trust_file == trust_path
    assert str(trust_path) in str(refused.value)
    assert TrustFile(trust_path).token(NETWORK, "alice", URL) is None


def test_with_a_token_that_owns_the_user_no_more_the_error_says_so_and_it_is_kept(trust_path: Path) -> None:
    TrustFile(trust_path).keep_token(NETWORK, "alice", URL, "crt_old")
    coordinator = PairingCoordinator(owners={"alice": "crt_elsewhere"})
    with client(coordinator) as router:
        with pytest.raises(WrongTokenError, match="another user id") as refused:
            router.create_pairing()
        with pytest.raises(WrongTokenError):
            router.revoke_provider(A)
    assert isinstance(refused.value, PermissionDeniedError)
    assert "crt_old" not in str(refused.value)
    assert TrustFile(trust_path).token(NETWORK, "alice", URL) == "crt_old"


def test_no_token_goes_to_a_coordinator_of_another_chain(trust_path: Path) -> None:
    coordinator = PairingCoordinator(chain=Chain.MONAD)
    with client(coordinator, chain=Chain.SOLANA) as router:
        for ask in (router.create_pairing, lambda: router.revoke_provider(A), lambda: router.pin_provider(A)):
            with pytest.raises(WrongNetworkError):
                ask()
    assert (coordinator.tokens, trust_path.exists()) == ([], False)


def test_no_token_goes_to_another_coordinator_of_the_same_chain(trust_path: Path) -> None:
    honest, evil = PairingCoordinator(), PairingCoordinator()
    with client(honest) as router:
        router.create_pairing()
    with client(evil, url="https://evil.example") as router:
        router.create_pairing()
        with pytest.raises(NotFoundError):
            router.revoke_provider(A)
    assert not set(honest.tokens) & set(evil.tokens)
    with client(honest) as router:
        router.create_pairing()
    assert len(set(honest.tokens)) == 1


def test_at_a_new_address_the_error_says_how_to_take_the_token_there(trust_path: Path) -> None:
    coordinator = PairingCoordinator(listed={"alice": [A]})
    with client(coordinator) as router:
        router.create_pairing()
    token = coordinator.tokens[0]
    assert token is not None
    with client(coordinator, url="https://new.example") as router:
        for ask in (router.create_pairing, lambda: router.revoke_provider(A)):
            with pytest.raises(TokenMissingError) as refused:
                ask()
            assert '"tokens": {"https://new.example": "crt_..."}' in str(refused.value)
            assert f"a token for {URL}," in str(refused.value)
            assert token not in str(refused.value)
        assert coordinator.tokens.count(token) == 1
        TrustFile(trust_path).keep_token(NETWORK, "alice", "https://new.example", token)
        router.revoke_provider(A)


def test_a_token_without_an_address_is_sent_nowhere(trust_path: Path) -> None:
    token = "crt_" + "x" * 43
    trust_path.parent.mkdir(parents=True, exist_ok=True)
    trust_path.write_text(json.dumps({"version": 1, "networks": {NETWORK: {"alice": {"token": token}}}}))
    trust_path.chmod(0o600)
    coordinator = PairingCoordinator(owners={"alice": token})
    with client(coordinator) as router:
        for ask in (router.create_pairing, lambda: router.revoke_provider(A)):
            with pytest.raises(TokenMissingError, match="an address that was not noted"):
                ask()
    assert token not in coordinator.tokens
    assert token in trust_path.read_text()


def test_an_api_key_stands_for_the_user_and_no_token_is_made(trust_path: Path) -> None:
    coordinator = PairingCoordinator(owners={"alice": API_KEY}, listed={"alice": [A]})
    with client(coordinator, api_key=API_KEY) as router:
        router.create_pairing()
        router.revoke_provider(A)
    assert coordinator.tokens == [API_KEY, API_KEY]
    assert not trust_path.exists()


def test_where_the_api_key_is_not_enough_a_token_that_was_given_is_tried(trust_path: Path) -> None:
    token = "crt_" + "x" * 43
    coordinator = PairingCoordinator(issues=token, wants_keys=False, listed={"alice": [A]})
    with client(coordinator, api_key=API_KEY) as router:
        for _ in range(2):
            router.create_pairing()
        router.revoke_provider(A)
    assert TrustFile(trust_path).token(NETWORK, "alice", URL) == token
    assert coordinator.tokens == [API_KEY, API_KEY, token, API_KEY, token]


def test_a_trust_file_open_to_others_stops_everything_before_anything_is_sent(trust_path: Path) -> None:
    TrustFile(trust_path).pin(NETWORK, "alice", A)
    trust_path.chmod(0o644)
    coordinator = PairingCoordinator()
    with client(coordinator) as router:
        for ask in (router.create_pairing, router.pinned_providers, lambda: router.revoke_provider(A)):
            with pytest.raises(TrustFileError, match="chmod 600"):
                ask()
    assert coordinator.tokens == []


def test_pairing_needs_a_user() -> None:
    coordinator = PairingCoordinator()
    with client(coordinator, user_id=None) as router:
        for ask in (router.create_pairing, router.pinned_providers, lambda: router.pin_provider(A)):
            with pytest.raises(InvalidArgumentError, match="user id"):
                ask()
    assert coordinator.asked == []


@pytest.mark.parametrize("as_object", [False, True])
def test_the_trust_file_can_be_given(tmp_path: Path, trust_path: Path, as_object: bool) -> None:
    mine = tmp_path / "mine.json"
    with client(PairingCoordinator(), trust_file=TrustFile(mine) if as_object else mine) as router:
        router.create_pairing()
    assert TrustFile(mine).token(NETWORK, "alice", URL) is not None
    assert not trust_path.exists()


# Waiting and pinning


def test_the_key_of_a_worker_that_uses_the_code_is_pinned(trust_path: Path) -> None:
    coordinator = PairingCoordinator(listed={"alice": [B]}, comes={5: A})
    with client(coordinator) as router:
        worker = router.await_pairing(router.create_pairing())
        assert (worker.provider_pubkey, worker.signed) == (A, True)
        assert router.pinned_providers() == (A,)
    assert coordinator.clock.pauses == [1.0, 1.0, 1.0]


def test_a_worker_that_was_quick_is_found_at_once() -> None:
    coordinator = PairingCoordinator(comes={2: A})
    with client(coordinator) as router:
        assert router.await_pairing(router.create_pairing(), timeout_s=0).provider_pubkey == A
    assert coordinator.clock.pauses == []


def test_when_no_worker_comes_nothing_is_pinned(trust_path: Path) -> None:
    coordinator = PairingCoordinator(listed={"alice": [B]})
    with client(coordinator) as router:
        code = router.create_pairing()
        with pytest.raises(PairingTimeoutError, match=r"within 2\.5 s"):
            router.await_pairing(code, timeout_s=2.5)
        assert router.pinned_providers() == ()
    assert coordinator.clock.pauses == [1.0, 1.0, 0.5]


@pytest.mark.parametrize("spelling", [str, str.upper, lambda text: text.replace(" ", "")])
def test_a_key_with_the_expected_fingerprint_is_pinned(spelling: object) -> None:
    assert callable(spelling)
    with client(PairingCoordinator(comes={2: A})) as router:
        router.await_pairing(router.create_pairing(), fingerprint=spelling(key_fingerprint(A)))
        assert router.pinned_providers() == (A,)


@pytest.mark.parametrize("fingerprint", [key_fingerprint(B), "", key_fingerprint(A)[:-1]])
def test_a_key_with_another_fingerprint_is_not_pinned(fingerprint: str) -> None:
    with client(PairingCoordinator(comes={2: A})) as router:
        with pytest.raises(FingerprintMismatchError, match=f"trust revoke {A}") as refused:
            router.await_pairing(router.create_pairing(), fingerprint=fingerprint)
        assert refused.value.pubkey == A
        assert router.pinned_providers() == ()


def test_a_key_that_did_not_sign_for_the_code_is_not_pinned_unless_asked_for() -> None:
    with client(PairingCoordinator(comes={2: A}, signed=False)) as router:
        code = router.create_pairing()
        with pytest.raises(UnsignedClaimError, match=f"trust pin {A}") as refused:
            router.await_pairing(code)
        assert refused.value.pubkey == A
        assert key_fingerprint(A) in str(refused.value)
        assert router.pinned_providers() == ()
        assert not router.await_pairing(code, allow_unsigned=True).signed
        assert router.pinned_providers() == (A,)


def test_the_right_fingerprint_is_as_good_as_a_signature() -> None:
    with client(PairingCoordinator(comes={2: A}, signed=False)) as router:
        router.await_pairing(router.create_pairing(), fingerprint=key_fingerprint(A))
        assert router.pinned_providers() == (A,)


def test_what_the_coordinator_lists_as_a_key_and_is_none_is_never_pinned() -> None:
    with client(PairingCoordinator(comes={2: "no key"})) as router:
        with pytest.raises(InvalidArgumentError):
            router.await_pairing(router.create_pairing())
        assert router.pinned_providers() == ()


def test_keys_that_the_coordinator_adds_to_its_list_are_not_pinned_by_looking() -> None:
    coordinator = PairingCoordinator(listed={"alice": [A, B]})
    with client(coordinator) as router:
        router.pin_provider(A)
        assert len(router.list_providers()) == 2
        assert router.pinned_providers() == (A,)
        assert router.unpin_provider(A)
        assert not router.unpin_provider(A)
        assert router.pinned_providers() == ()


# Revoking


def test_a_revoked_worker_is_unpinned_and_its_pairing_ended() -> None:
    coordinator = PairingCoordinator(comes={2: A})
    with client(coordinator) as router:
        router.await_pairing(router.create_pairing())
        answer = router.revoke_provider(A.upper())
        assert (answer.user_id, answer.provider_pubkey) == ("alice", A)
        assert (router.pinned_providers(), router.list_providers()) == ((), [])


def test_a_worker_is_unpinned_even_if_the_coordinator_does_not_know_it_or_is_not_asked(
    trust_path: Path,
) -> None:
    coordinator = PairingCoordinator()
    with client(coordinator) as router:
        router.pin_provider(A)
        with pytest.raises(TokenMissingError):
            router.revoke_provider(A)
        assert router.pinned_providers() == ()
        router.create_pairing()
        router.pin_provider(A)
        with pytest.raises(NotFoundError):
            router.revoke_provider(A)
        assert router.pinned_providers() == ()


def test_codes_and_tokens_are_in_no_repr(trust_path: Path) -> None:
    coordinator = PairingCoordinator()
    with client(coordinator) as router:
        code = router.create_pairing()
    assert code.pairing_code not in repr(code)


# The asyncio client


def test_the_asyncio_client_does_all_of_it(trust_path: Path) -> None:
    coordinator = PairingCoordinator(comes={3: A})

    async def pair() -> None:
        async with AsyncComputeRouter(
            URL,
            user_id="alice",
            transport=coordinator.transport(),
            clock=coordinator.clock,
            sleep=coordinator.clock.sleep_async,
        ) as router:
            code = await router.create_pairing()
            worker = await router.await_pairing(code, fingerprint=key_fingerprint(A))
            assert await router.pinned_providers() == (worker.provider_pubkey,) == (A,)
            assert await router.unpin_provider(A)
            await router.pin_provider(B)
            assert (await router.revoke_provider(A)).provider_pubkey == A
            assert await router.pinned_providers() == (B,)
            assert await router.list_providers() == []
            with pytest.raises(NotFoundError):
                await router.revoke_provider(A)

    asyncio.run(pair())
    assert set(coordinator.tokens) == {TrustFile(trust_path).token(NETWORK, "alice", URL)}
