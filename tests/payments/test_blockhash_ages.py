"""A Solana payment lives for as long as its blockhash does, and not from when it is shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compute_router.transport.payments.blockhash_ages import BLOCK_MS, BLOCKS, BlockhashAges
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc
from tests.payments.paying import SolanaScene

if TYPE_CHECKING:
    from tools.local_chains.solana import LocalSolana

WHOLE = BLOCKS * BLOCK_MS


@pytest.fixture
def scene(solana: LocalSolana, tmp_path: Path) -> SolanaScene:
    return SolanaScene(tmp_path, solana)


def lives(scene: SolanaScene, *inners: dict[str, Any]) -> list[int | None]:
    async def ask() -> list[int | None]:
        ages = BlockhashAges(JsonRpc(scene.local.rpc_url))
        try:
            return [await ages.lives(json.dumps(inner).encode()) for inner in inners]
        finally:
            await ages.close()

    return asyncio.run(ask())


def test_a_new_one_lives_for_nearly_a_minute(scene: SolanaScene) -> None:
    (left,) = lives(scene, scene.signed())
    assert left is not None
    assert WHOLE - 5_000 <= left <= WHOLE


@pytest.mark.parametrize("seconds", [10, 30, 50])
def test_what_passed_since_it_was_signed_is_gone(scene: SolanaScene, seconds: int) -> None:
    inner = scene.signed()
    scene.local.advance(seconds)
    (left,) = lives(scene, inner)
    assert left is not None
    assert abs(WHOLE - seconds * 1000 - left) <= 5_000


def test_one_that_can_land_no_more_lives_for_no_time(scene: SolanaScene) -> None:
    inner = scene.signed()
    scene.local.advance(70)
    assert lives(scene, inner) == [0]


def test_one_list_serves_many_for_a_moment(scene: SolanaScene) -> None:
    inners = [scene.signed() for _ in range(5)]
    scene.local.requests.clear()
    assert None not in lives(scene, *inners)
    assert scene.local.requests == {"getAccountInfo": 1}


def test_one_that_is_younger_than_the_list_is_looked_for_in_a_new_one(scene: SolanaScene) -> None:
    async def ask() -> None:
        ages = BlockhashAges(JsonRpc(scene.local.rpc_url))
        assert await ages.lives(json.dumps(scene.signed()).encode())
        scene.local.advance(5)
        left = await ages.lives(json.dumps(scene.signed()).encode())
        assert left is not None
        assert left > WHOLE - 5_000
        await ages.close()

    asyncio.run(ask())
    assert scene.local.requests["getAccountInfo"] == 2


@pytest.mark.parametrize(
    ("list_of_node", "known"), [({"value": None}, None), ({"value": {"data": [""]}}, None)], ids=str
)
def test_where_the_chain_keeps_no_list_nobody_knows_and_it_is_not_asked_for_at_every_payment(
    scene: SolanaScene, list_of_node: Any, known: int | None
) -> None:
    scene.local.odd["getAccountInfo"] = [list_of_node]
    assert lives(scene, scene.signed(), scene.signed()) == [known, known]


@pytest.mark.parametrize("nonsense", [None, 5, {}, {"value": 5}, {"value": {"data": [5]}}], ids=str)
def test_nonsense_of_a_node_is_unreadable(scene: SolanaScene, nonsense: Any) -> None:
    scene.local.odd["getAccountInfo"] = [nonsense]
    with pytest.raises(ChainUnreadableError):
        lives(scene, scene.signed())
