"""One payer has so many turns at once; another's are his own."""

from __future__ import annotations

import asyncio

import pytest

from compute_router.transport.payments.turns import Turns


async def breathe() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_payer_waits_for_his_own_turns_and_for_nobody_elses() -> None:
    turns, begun, go = Turns(2), [], asyncio.Event()

    async def take(payer: str) -> None:
        async with turns.of(payer):
            begun.append(payer)
            await go.wait()

    tasks = [asyncio.create_task(take("greedy")) for _ in range(5)]
    await breathe()
    tasks.append(asyncio.create_task(take("honest")))
    await breathe()
    assert begun == ["greedy", "greedy", "honest"]
    tasks[4].cancel()
    go.set()
    await asyncio.wait(tasks)
    assert begun.count("greedy") == 4


async def test_those_who_wait_for_a_turn_count_until_they_give_up_or_leave() -> None:
    turns = Turns(1)
    await turns.take("greedy")
    waiting = asyncio.create_task(turns.take("greedy"))
    await turns.take("honest")
    await breathe()
    assert (turns.under_way, turns.under_way_of("greedy"), turns.under_way_of("nobody")) == (3, 2, 0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (turns.under_way, turns.under_way_of("greedy")) == (2, 1)
    turns.leave("greedy")
    turns.leave("honest")
    assert (turns.under_way, turns.under_way_of("greedy")) == (0, 0)


async def test_a_turn_ends_when_what_was_done_in_it_fails() -> None:
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            async with turns.of("payer"):
                raise ValueError("no")
