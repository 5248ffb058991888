"""A Solana payment lives for as long as its blockhash does, and not from when it is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compute_router.transport.payments.blockhash_ages import BLOCK_MS, BLOCKS, BlockhashAges
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc
from tests.fakes.clock import FakeClock
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


class Flapping:
    """A node that gave a list, and says now that it has none. Time passes for it and for the reader alike."""

    def __init__(self, scene: SolanaScene, ages: BlockhashAges, clock: FakeClock) -> None:
        self._scene, self._ages, self._clock = scene, ages, clock

    def sign(self) -> bytes:
        return json.dumps(self._scene.signed()).encode()

    def wait(self, seconds: int) -> None:
        self._clock.advance(seconds * 1000)
        self._scene.local.advance(seconds)

    async def left(self, payment: bytes, *, gives_list: bool = False) -> int | None:
        odd = self._scene.local.odd
        odd["getAccountInfo"] = [] if gives_list else [{"value": None}]
        left = await self._ages.lives(payment)
        odd["getAccountInfo"] = []
        return left

    def asked(self) -> int:
        """How often it was asked for its list since this was asked last."""
        return self._scene.local.requests.pop("getAccountInfo", 0)


def flapping(scene: SolanaScene, use: Callable[[Flapping], Awaitable[None]]) -> None:
    async def run() -> None:
        clock = FakeClock()
        ages = BlockhashAges(JsonRpc(scene.local.rpc_url), lambda: clock.steady_ms() / 1000)
        try:
            await use(Flapping(scene, ages, clock))
        finally:
            await ages.close()

    asyncio.run(run())


def test_a_node_that_says_for_once_that_it_has_no_list_makes_no_payment_younger(scene: SolanaScene) -> None:
    async def use(node: Flapping) -> None:
        old = node.sign()
        assert await node.left(old, gives_list=True)
        for passed in (10, 20, 30):
            node.wait(10)
            left = await node.left(old)
            assert left is not None
            assert abs(WHOLE - passed * 1000 - left) <= 5_000

    flapping(scene, use)


def test_what_is_younger_than_a_list_of_before_lives_as_long_as_if_it_came_right_after_it(
    scene: SolanaScene,
) -> None:
    async def use(node: Flapping) -> None:
        assert await node.left(node.sign(), gives_list=True)
        node.wait(30)
        left = await node.left(node.sign())
        assert left is not None
        assert 10_000 <= left <= WHOLE - 30_000

    flapping(scene, use)


def test_a_list_that_is_too_old_to_be_of_use_is_forgotten(scene: SolanaScene) -> None:
    async def use(node: Flapping) -> None:
        assert await node.left(node.sign(), gives_list=True)
        node.wait(50)
        assert await node.left(node.sign()) is None

    flapping(scene, use)


def test_a_node_that_had_a_list_is_soon_asked_for_it_again(scene: SolanaScene) -> None:
    async def use(node: Flapping) -> None:
        old = node.sign()
        assert await node.left(old, gives_list=True)
        node.wait(50)
        assert await node.left(old) is None
        assert node.asked() == 2
        assert await node.left(old, gives_list=True) is None
        assert node.asked() == 0
        node.wait(2)
        left = await node.left(old, gives_list=True)
        assert left is not None
        assert left <= 10_000
        assert node.asked() == 1

    flapping(scene, use)


@pytest.mark.parametrize("nonsense", [None, 5, {}, {"value": 5}, {"value": {"data": [5]}}], ids=str)
def test_nonsense_of_a_node_is_unreadable(scene: SolanaScene, nonsense: Any) -> None:
    scene.local.odd["getAccountInfo"] = [nonsense]
    with pytest.raises(ChainUnreadableError):
        lives(scene, scene.signed())
