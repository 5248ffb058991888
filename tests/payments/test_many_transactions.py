"""A Solana account with many transactions costs whoever owns it time, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from compute_router.protocol.payments import Payment, Settled, StillOpen
from compute_router.transport.payments import solana_chain_reader
from compute_router.transport.payments.json_rpc import ChainUnreadableError
from tests.payments.paying import SolanaScene
from tools.local_chains.solana_chain import Landed

if TYPE_CHECKING:
    from tools.local_chains.solana import LocalSolana

MOST = 8


@pytest.fixture
def scene(solana: LocalSolana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SolanaScene:
    monkeypatch.setattr(solana_chain_reader, "_MOST_FETCHED", MOST)
    return SolanaScene(tmp_path, solana)


def dust(scene: SolanaScene, many: int) -> None:
    """Transactions without a memo on the payer's account, newer than all others."""
    chain = scene.local.chain
    inner = scene.signed(memo=None, unit_price=1_000)
    transaction = VersionedTransaction.from_bytes(base64.b64decode(inner["transaction"]))
    for _ in range(many):
        name = str(Signature.from_bytes(os.urandom(64)))
        chain.landed[name] = Landed(name, transaction, chain.slot, int(chain.now), None, [])  # type: ignore[union-attr]


async def asked_until_told(scene: SolanaScene, payment: Payment) -> tuple[object, int]:
    """What the reader says in the end, and in how many looks."""
    reader = scene.reader()
    for looks in range(1, 100):
        try:
            outcome = await reader.outcome(payment)
            await reader.close()
            return outcome, looks
        except ChainUnreadableError:
            continue
    raise AssertionError("it never says")


def test_a_payment_is_found_by_its_memo_however_many_transactions_came_after_it(scene: SolanaScene) -> None:
    inner = scene.signed()
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    dust(scene, 300)
    scene.local.requests.clear()
    assert scene.outcome(scene.payment(inner)) == Settled(ended.transaction)
    assert scene.local.requests["getTransaction"] == 1


def test_a_payment_that_names_its_transaction_is_found_without_a_list(scene: SolanaScene) -> None:
    inner = scene.signed(memo=None)
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    dust(scene, 300)
    scene.local.requests.clear()
    payment = msgspec.structs.replace(scene.payment(inner), transaction_ref=ended.transaction)
    assert scene.outcome(payment) == Settled(ended.transaction)
    assert scene.local.requests["getTransaction"] == 1
    assert "getSignaturesForAddress" not in scene.local.requests


def test_one_look_fetches_a_few_and_the_next_goes_on(scene: SolanaScene) -> None:
    inner = scene.signed(memo=None)
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    dust(scene, 5 * MOST)
    scene.local.requests.clear()
    outcome, looks = asyncio.run(asked_until_told(scene, scene.payment(inner)))
    assert (outcome, looks) == (Settled(ended.transaction), 6)
    assert scene.local.requests["getTransaction"] == 5 * MOST + 1


def test_what_was_fetched_for_one_payment_is_not_fetched_for_another(scene: SolanaScene) -> None:
    dust(scene, 3 * MOST)
    unused = [scene.payment(scene.signed(memo=None, unit_price=price)) for price in range(2, 7)]

    async def scenario() -> None:
        reader = scene.reader()
        told = 0
        while told < len(unused):
            try:
                assert await reader.outcome(unused[told]) == StillOpen()
                told += 1
            except ChainUnreadableError:
                assert scene.local.requests["getTransaction"] <= 3 * MOST
        await reader.close()

    scene.local.requests.clear()
    asyncio.run(scenario())
    assert scene.local.requests["getTransaction"] == 3 * MOST
