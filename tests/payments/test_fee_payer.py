"""What a payment can cost the facilitator that pays for its transaction; nothing else can be had of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair

from compute_router.transport.facilitator.bodies import PaymentError
from compute_router.transport.payments.fee_payer_rules import MOST_PRIORITY_LAMPORTS
from compute_router.transport.payments.solana_programs import LIGHTHOUSE, MEMO
from tests.payments.paying import PRICE, SolanaScene

if TYPE_CHECKING:
    from tools.local_chains.solana import LocalSolana

SIGNATURES_COST = 10_000
"""Lamports, for two."""


@pytest.fixture
def scene(solana: LocalSolana, tmp_path: Path) -> SolanaScene:
    return SolanaScene(tmp_path, solana)


def lamports(scene: SolanaScene) -> int:
    account = scene.local.chain.account(scene.fee_payer.pubkey())  # type: ignore[union-attr]
    assert account is not None
    return account.lamports


def test_a_payment_costs_two_signatures_and_the_priority_it_may_have(scene: SolanaScene) -> None:
    before = lamports(scene)
    with scene.facilitator() as facilitator:
        assert facilitator.settle(scene.body()).success
        assert before - lamports(scene) in (SIGNATURES_COST, SIGNATURES_COST + 1)
        dearest = scene.signed(unit_price=MOST_PRIORITY_LAMPORTS * 1_000_000 // 20_000)
        assert facilitator.settle(scene.body(dearest)).success
    assert before - lamports(scene) <= 2 * SIGNATURES_COST + MOST_PRIORITY_LAMPORTS + 1
    assert scene.paid == 2 * PRICE


UNFAIR: dict[str, tuple[str, Callable[[SolanaScene], dict[str, Any]]]] = {
    "more signers": ("signers", lambda scene: {"also": [Keypair()]}),
    "priority": ("priority_fee_too_high", lambda scene: {"unit_price": 5_000_000}),
    "the fee payer signs a memo": (
        "uses_fee_payer",
        lambda scene: {
            "more": [Instruction(MEMO, b"m", [AccountMeta(scene.fee_payer.pubkey(), True, True)])]
        },
    ),
    "lighthouse writes": (
        "writes",
        lambda scene: {
            "more": [Instruction(LIGHTHOUSE, b"\x00", [AccountMeta(scene.keypair.pubkey(), True, True)])]
        },
    ),
    "lighthouse uses the fee payer": (
        "uses_fee_payer",
        lambda scene: {
            "more": [Instruction(LIGHTHOUSE, b"\x06", [AccountMeta(scene.fee_payer.pubkey(), True, True)])]
        },
    ),
}


@pytest.mark.parametrize("kind", UNFAIR)
def test_what_uses_the_fee_payer_is_refused_when_it_is_verified_and_when_it_is_settled(
    scene: SolanaScene, kind: str
) -> None:
    reason, changes = UNFAIR[kind]
    body, before = scene.body(scene.signed(**changes(scene))), lamports(scene)
    with scene.facilitator() as facilitator:
        for ask in (facilitator.verify, facilitator.settle):
            with pytest.raises(PaymentError) as refused:
                ask(body)
            assert refused.value.reason == f"invalid_exact_svm_payload_transaction_{reason}"
    assert (lamports(scene), scene.paid) == (before, 0)
    assert not scene.local.requests
