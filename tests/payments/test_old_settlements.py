"""Settlements that are asked about hours and days later, on nodes that search few blocks in one question."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compute_router.protocol.payments import Settled
from compute_router.transport.payments.evm_chain_reader import EvmChainReader
from compute_router.transport.payments.json_rpc import NodeError
from tests.payments.paying import EvmScene
from tools.local_chains.rpc_server import RpcError

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm

DAY = 86_400


@pytest.fixture
def scene(evm: LocalEvm, tmp_path: Path) -> EvmScene:
    return EvmScene(tmp_path, evm)


def settled(scene: EvmScene, inner: dict[str, Any]) -> Settled:
    with scene.facilitator() as facilitator:
        return Settled(facilitator.settle(scene.body(inner)).transaction)


def test_a_settlement_is_found_however_many_blocks_ago_it_was(scene: EvmScene, evm: LocalEvm) -> None:
    inner = scene.signed()
    settlement = settled(scene, inner)
    evm.chain.mine_empty(51_000)
    assert scene.outcome(scene.payment(inner)) == settlement


def test_only_blocks_of_the_time_of_a_payment_are_searched(scene: EvmScene, evm: LocalEvm) -> None:
    evm.chain.mine_empty(20_000)
    evm.advance(2 * DAY)
    inner = scene.signed(validBefore=str(int(time.time()) + 2 * DAY + 3600))
    evm.chain.mine_empty(150)
    settlement = settled(scene, inner)
    evm.advance(DAY)
    evm.chain.mine_empty(20_000)
    evm.requests.clear()
    assert scene.outcome(scene.payment(inner)) == settlement
    assert evm.requests["eth_getLogs"] <= 16
    assert evm.requests["eth_getBlockByNumber"] <= 64


@pytest.mark.parametrize("valid_after", ["0", str(int(time.time()) - 600)])
def test_a_settlement_is_found_though_its_payers_clock_was_a_day_ahead(
    scene: EvmScene, evm: LocalEvm, valid_after: str
) -> None:
    inner = scene.signed(validAfter=valid_after, validBefore=str(int(time.time()) + DAY + 3600))
    settlement = settled(scene, inner)
    evm.chain.mine_empty(1_500)
    assert scene.outcome(scene.payment(inner)) == settlement
    evm.advance(DAY)
    evm.chain.mine_empty(1_500)
    assert scene.outcome(scene.payment(inner)) == settlement


def test_a_search_that_was_broken_off_goes_on_where_it_was(scene: EvmScene, evm: LocalEvm) -> None:
    evm.chain.mine_empty(2_000)
    inner = scene.signed()
    settlement = settled(scene, inner)
    evm.chain.mine_empty(1_500)
    search, asked = evm.methods["eth_getLogs"], list[int]()

    def of_few_answers(wanted: dict[str, Any]) -> Any:
        asked.append(int(wanted["fromBlock"], 16))
        if len(asked) % 20 == 0:
            raise RpcError(-32005, "limit exceeded")
        return search(wanted)

    evm.methods["eth_getLogs"] = of_few_answers

    async def ask_until_told(reader: EvmChainReader) -> tuple[object, int]:
        broken_off = 0
        while True:
            try:
                return await reader.outcome(scene.payment(inner)), broken_off
            except NodeError:
                broken_off += 1
                assert broken_off < 5

    async def scenario() -> tuple[object, int]:
        reader = scene.reader()
        try:
            return await ask_until_told(reader)
        finally:
            await reader.close()

    outcome, broken_off = asyncio.run(scenario())
    assert outcome == settlement
    assert broken_off >= 1
    newest = len(evm.chain.blocks) - 800
    old = [block for block in asked if block < newest]
    assert len(old) <= len(set(old)) + 8 * broken_off
