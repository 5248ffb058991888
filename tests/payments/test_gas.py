"""A facilitator's gas runs low: it offers no more payments while it can still settle those it took."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from eth_utils.address import to_canonical_address

from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

ENOUGH_FOR_FIVE = 5
RENT_LAMPORTS = 890_880


@pytest.fixture(params=["evm", "solana"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    """With gas for five settlements."""
    local = request.getfixturevalue(request.param)
    return _poor_evm(tmp_path, local) if request.param == "evm" else _poor_solana(tmp_path, local)


def test_it_stops_offering_payments_before_it_cannot_settle_those_it_took(scene: Scene) -> None:
    with scene.facilitator() as facilitator:
        assert facilitator.side.problem() is None
        settled = 0
        while facilitator.side.problem() is None:
            assert facilitator.settle(scene.body()).success
            settled += 1
            assert settled < 20
        assert "too little" in (facilitator.side.problem() or "")
        for _ in range(3):
            assert facilitator.settle(scene.body()).success
    assert scene.paid == (settled + 3) * PRICE


def test_that_it_runs_low_is_told_once_in_time(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with scene.facilitator() as facilitator, caplog.at_level(logging.WARNING):
        facilitator.side.problem()
        facilitator.side.problem()
    assert [record.getMessage().endswith("for 5 more settlements only") for record in caplog.records] == [
        True
    ]


def _poor_evm(directory: Path, local: LocalEvm) -> EvmScene:
    scene = EvmScene(directory, local)
    key = local.new_key()
    scene.key = bytes(key.key)
    with scene.facilitator() as facilitator:
        one = 10**18 // facilitator.side.settlements_within(10**18)
    local.chain.set_native_balance(to_canonical_address(key.address), one * ENOUGH_FOR_FIVE + one // 2)
    return scene


def _poor_solana(directory: Path, local: LocalSolana) -> SolanaScene:
    scene = SolanaScene(directory, local)
    scene.fee_payer = local.new_key()
    scene.key = bytes(scene.fee_payer)
    local.chain.give_lamports(scene.fee_payer.pubkey(), RENT_LAMPORTS + 20_000 * ENOUGH_FOR_FIVE)
    return scene
