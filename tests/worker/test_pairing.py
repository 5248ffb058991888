"""Redeeming a pairing code."""

from __future__ import annotations

import json

import httpx
import pytest

from compute_router.worker.pairing import PairingError, claim_pairing

PUBKEY = "ab" * 32


def coordinator(status: int, body: object) -> tuple[httpx.Client, list[httpx.Request]]:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(status, json=body)

    return httpx.Client(transport=httpx.MockTransport(answer)), requests


def test_the_code_is_redeemed_for_the_workers_key() -> None:
    client, requests = coordinator(200, {"user_id": "ada", "paired_at": "2026-02-09T12:00:05.000Z"})
    assert claim_pairing(client, "http://c", "CODE", PUBKEY).user_id == "ada"
    (request,) = requests
    assert (request.method, str(request.url)) == ("POST", "http://c/v1/trust/claim")
    assert json.loads(request.content) == {"pairing_code": "CODE", "provider_pubkey": PUBKEY}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": "invalid_code"}, "Pairing was refused: the coordinator knows no such code."),
        ({"error": "already_claimed"}, "Pairing was refused: the code was used before."),
        ({"error": "expired", "message": "x"}, "Pairing was refused: the code is too old."),
        ({"error": "new", "message": "Come back later."}, "Pairing was refused: Come back later."),
    ],
)
def test_a_refused_code_is_said_in_one_sentence(body: object, sentence: str) -> None:
    client, _ = coordinator(400, body)
    with pytest.raises(PairingError) as refused:
        claim_pairing(client, "http://c", "CODE", PUBKEY)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(("status", "body"), [(200, {"user": 1}), (502, ["bad gateway"])])
def test_an_answer_that_is_not_a_coordinators_is_an_error(status: int, body: object) -> None:
    client, _ = coordinator(status, body)
    with pytest.raises(PairingError, match=f"answered {status}"):
        claim_pairing(client, "http://c", "CODE", PUBKEY)


def test_a_coordinator_that_is_away_is_an_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        httpx.Client(transport=httpx.MockTransport(refuse)) as client,
        pytest.raises(PairingError, match="cannot be reached"),
    ):
        claim_pairing(client, "http://c", "CODE", PUBKEY)
