"""What the measures wait for, and how often they try again."""

from __future__ import annotations

import asyncio

from benchmarks.patience import Patience
from benchmarks.tally import Tally


def test_who_waits_for_a_count_goes_on_when_it_is_reached() -> None:
    async def scenario() -> None:
        tally = Tally()
        waiting = asyncio.create_task(tally.reach(2))
        await asyncio.sleep(0)
        tally.add()
        await asyncio.sleep(0)
        assert not waiting.done()
        tally.add()
        await waiting

    asyncio.run(scenario())


def test_a_count_that_is_already_there_is_not_waited_for() -> None:
    async def scenario() -> None:
        tally = Tally()
        tally.add()
        tally.add()
        await tally.reach(1)
        await tally.reach(2)

    asyncio.run(scenario())


def test_patience_ends() -> None:
    patience = Patience(2)
    assert [patience.spend() for _ in range(4)] == [True, True, False, False]
