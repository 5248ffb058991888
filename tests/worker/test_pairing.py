"""Redeeming a pairing code."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.pairing import ClaimSignatureError, verify_claim
from compute_router.protocol.receipts import public_key_hex
from compute_router.worker.pairing import PairingError, claim_pairing

KEY = SigningKey(bytes(range(32)))
PUBKEY = public_key_hex(KEY)
NETWORK = "solana:test"
HEALTH = {"status": "ok", "workers_online": 0, "network": NETWORK, "timestamp": "t"}


def coordinator(
    status: int, body: object, *, health: tuple[int, object] = (200, HEALTH)
) -> tuple[httpx.Client, list[httpx.Request]]:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.path == "/v1/health":
            return httpx.Response(health[0], json=health[1])
        return httpx.Response(status, json=body)

    return httpx.Client(transport=httpx.MockTransport(answer)), requests


def test_the_code_is_redeemed_for_the_workers_key_and_signed_by_it() -> None:
    client, requests = coordinator(200, {"user_id": "ada", "paired_at": "2026-02-09T12:00:05.000Z"})
    assert claim_pairing(client, "http://c", "CODE", KEY).user_id == "ada"
    _, request = requests
    assert (request.method, str(request.url)) == ("POST", "http://c/v1/trust/claim")
    body = json.loads(request.content)
    verify_claim(NETWORK, "CODE", PUBKEY, body.pop("signature"))
    assert body == {"pairing_code": "CODE", "provider_pubkey": PUBKEY}


def test_the_signature_is_good_at_the_network_of_this_coordinator_only() -> None:
    client, requests = coordinator(200, {"user_id": "ada", "paired_at": "t"})
    claim_pairing(client, "http://c", "CODE", KEY)
    signature = json.loads(requests[-1].content)["signature"]
    with pytest.raises(ClaimSignatureError):
        verify_claim("solana:other", "CODE", PUBKEY, signature)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": "invalid_code"}, "the coordinator knows no such code; "),
        ({"error": "already_claimed"}, "the code was used before."),
        ({"error": "expired", "message": "x"}, "the code is too old."),
        ({"error": "new", "message": "Come back later."}, "Come back later."),
    ],
)
def test_a_refused_code_is_said_in_one_sentence(body: object, sentence: str) -> None:
    client, _ = coordinator(400, body)
    with pytest.raises(PairingError) as refused:
        claim_pairing(client, "http://c", "CODE", KEY)
    assert str(refused.value).startswith(f"Pairing was refused: {sentence}")
    assert "CODE" not in str(refused.value)


@pytest.mark.parametrize(("status", "body"), [(200, {"user": 1}), (502, ["bad gateway"])])
def test_an_answer_that_is_not_a_coordinators_is_an_error(status: int, body: object) -> None:
    client, _ = coordinator(status, body)
    with pytest.raises(PairingError, match=f"answered {status}"):
        claim_pairing(client, "http://c", "CODE", KEY)


@pytest.mark.parametrize("health", [(200, {"status": "ok"}), (404, ["nothing"]), (200, {"network": 5})])
def test_without_a_network_nothing_is_claimed(health: tuple[int, object]) -> None:
    client, requests = coordinator(200, {"user_id": "ada", "paired_at": "t"}, health=health)
    with pytest.raises(PairingError, match="not as a coordinator does"):
        claim_pairing(client, "http://c", "CODE", KEY)
    assert [request.url.path for request in requests] == ["/v1/health"]


def down_at(path: str) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == path:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, json=HEALTH)

    return answer


@pytest.mark.parametrize("path", ["/v1/health", "/v1/trust/claim"])
def test_a_coordinator_that_is_away_is_an_error(path: str) -> None:
    with (
        httpx.Client(transport=httpx.MockTransport(down_at(path))) as client,
        pytest.raises(PairingError, match="cannot be reached"),
    ):
        claim_pairing(client, "http://c", "CODE", KEY)
