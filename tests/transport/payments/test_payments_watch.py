"""Health says that paid jobs cannot be taken as soon as that is noticed, and until it is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from compute_router.actors.health import HealthBoard
from compute_router.transport.payments.payments_watch import PaymentsWatch

NEVER_S = 3600.0
SOON_S = 0.001


class Facilitator:
    """Says how it is when the test says so."""

    def __init__(self) -> None:
        self.in_doubt = asyncio.Event()
        self.problem: str | None = None
        self.asked = asyncio.Semaphore(0)
        self.looks = 0

    async def healthy(self) -> str | None:
        self.looks += 1
        self.asked.release()
        return self.problem


class Receiver:
    """An address that can receive, or cannot."""

    def __init__(self) -> None:
        self.lacks: str | None = None

    async def problem(self) -> str | None:
        return self.lacks


class Board(HealthBoard):
    """Tells the test when something was reported."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def report(self, part: str, problem: str | None) -> None:
        super().report(part, problem)
        self._news.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def watching(
    facilitator: Facilitator, receiver: Receiver | None = None, look_s: float = NEVER_S
) -> AsyncIterator[Board]:
    board = Board()
    watch = PaymentsWatch(facilitator, receiver, board, look_s=look_s, look_again_s=SOON_S)
    task = asyncio.get_running_loop().create_task(watch.run())
    try:
        yield board
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_question_that_was_left_open_is_followed_by_a_look() -> None:
    facilitator = Facilitator()
    async with watching(facilitator) as board:
        await facilitator.asked.acquire()
        facilitator.problem = "It is down."
        facilitator.in_doubt.set()
        await board.until(lambda: board.problems == ["facilitator: It is down."])


async def test_what_is_wrong_stands_until_the_facilitator_says_that_it_is_well() -> None:
    facilitator = Facilitator()
    facilitator.problem = "It is down."
    async with watching(facilitator) as board:
        for _ in range(5):
            await facilitator.asked.acquire()
        assert board.problems == ["facilitator: It is down."]
        facilitator.problem = None
        await board.until(lambda: not board.problems)


async def test_it_looks_from_time_to_time_without_being_told() -> None:
    facilitator = Facilitator()
    async with watching(facilitator, look_s=SOON_S) as board:
        await facilitator.asked.acquire()
        facilitator.problem = "It is down."
        await board.until(lambda: bool(board.problems))


async def test_an_address_that_cannot_receive_is_told_until_it_can() -> None:
    facilitator, receiver = Facilitator(), Receiver()
    receiver.lacks = "It has no account."
    async with watching(facilitator, receiver) as board:
        await board.until(lambda: board.problems == ["pay_to: It has no account."])
        receiver.lacks = None
        await board.until(lambda: not board.problems)


async def test_the_log_has_a_line_when_it_begins_and_one_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="compute_router.transport.payments.payments_watch")
    facilitator = Facilitator()
    facilitator.problem = "It is down."
    async with watching(facilitator) as board:
        for _ in range(5):
            await facilitator.asked.acquire()
        facilitator.problem = None
        await board.until(lambda: not board.problems)
    assert [record.getMessage() for record in caplog.records] == [
        "paid jobs are refused for now: It is down.",
        "the facilitator is well again",
    ]
