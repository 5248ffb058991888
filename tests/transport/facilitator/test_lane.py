"""Threads for payments: one payer never has them all."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from compute_router.transport.facilitator import lane
from compute_router.transport.facilitator.bodies import Question, Requirements
from compute_router.transport.facilitator.lane import BusyError, Lane

PATIENCE_SECONDS = 10.0


def of(payer: str) -> Question:
    return Question("key", payer, "network", {}, Requirements("exact", "network", "asset", "1", "to", 60))


class Work:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.changed = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self, question: Question) -> str:
        self.begun[question.payer] += 1
        self.changed.release()
        assert self.let_go.wait(PATIENCE_SECONDS)
        return question.payer

    async def has_begun(self, many: int) -> None:
        for _ in range(many):
            assert await asyncio.to_thread(self.changed.acquire, timeout=PATIENCE_SECONDS)


async def test_a_payer_whose_payments_take_long_leaves_threads_to_others() -> None:
    work, threads = Work(), Lane("test", 4, each=3)
    greedy = [asyncio.create_task(threads.run(work, of("greedy"))) for _ in range(20)]
    await work.has_begun(3)
    honest = asyncio.create_task(threads.run(work, of("honest")))
    await work.has_begun(1)
    assert work.begun == {"greedy": 3, "honest": 1}
    work.let_go.set()
    assert await honest == "honest"
    assert await asyncio.gather(*greedy) == ["greedy"] * 20
    await threads.end()


async def test_a_payer_does_not_fill_the_queue_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "_MOST_WAITING", 8)
    work, threads = Work(), Lane("test", 4, each=2)
    greedy = [asyncio.create_task(threads.run(work, of("greedy"))) for _ in range(4)]
    await work.has_begun(2)
    with pytest.raises(BusyError, match="of this payer"):
        await threads.run(work, of("greedy"))
    honest = [asyncio.create_task(threads.run(work, of(name))) for name in "abcd"]
    await work.has_begun(2)
    with pytest.raises(BusyError, match="Too many payments are under way"):
        await threads.run(work, of("e"))
    work.let_go.set()
    await asyncio.gather(*greedy, *honest)
    await threads.end()


async def test_whoever_gives_up_waiting_leaves_no_place_taken() -> None:
    work, threads = Work(), Lane("test", 2, each=1)
    first = asyncio.create_task(threads.run(work, of("a")))
    await work.has_begun(1)
    second = asyncio.create_task(threads.run(work, of("a")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    work.let_go.set()
    assert await first == "a"
    assert await threads.run(work, of("a")) == "a"
    await threads.end()
