"""Replies that can be awaited."""

from __future__ import annotations

import asyncio
import sys

import pytest

from compute_router.actors.runtime import LoopFuture


def test_awaiting_a_reply_that_is_there_gives_it_at_once() -> None:
    async def scene() -> int:
        future: LoopFuture[int] = LoopFuture()
        future.set(5)
        return await future

    assert asyncio.run(scene()) == 5


def test_awaiting_a_reply_that_is_not_there_lets_the_loop_go_on_until_it_comes() -> None:
    async def scene() -> str:
        future: LoopFuture[str] = LoopFuture()
        asyncio.get_running_loop().call_soon(future.set, "later")
        return await future

    assert asyncio.run(scene()) == "later"


def test_many_may_await_one_reply() -> None:
    async def scene() -> list[int]:
        future: LoopFuture[int] = LoopFuture()

        async def wait() -> int:
            return await future

        waiting = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        future.set(7)
        return [*await asyncio.gather(*waiting), await future]

    assert asyncio.run(scene()) == [7, 7, 7, 7]


def test_a_waiter_that_was_cancelled_does_not_disturb_the_others() -> None:
    async def scene() -> int:
        future: LoopFuture[int] = LoopFuture()

        async def wait() -> int:
            return await future

        gone, stays = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        assert gone.cancelled()
        future.set(7)
        return await stays

    assert asyncio.run(scene()) == 7


def test_an_exception_is_raised_for_whoever_awaits_it() -> None:
    async def scene() -> None:
        future: LoopFuture[int] = LoopFuture()
        error = KeyError("lost")
        asyncio.get_running_loop().call_soon(future.set_exception, (KeyError, error, None))
        with pytest.raises(KeyError, match="lost"):
            await future

    asyncio.run(scene())


def test_the_exception_under_way_is_taken_when_none_is_named() -> None:
    future: LoopFuture[int] = LoopFuture()
    try:
        raise KeyError("lost")
    except KeyError:
        future.set_exception()
    with pytest.raises(KeyError, match="lost"):
        future.get()


def test_no_exception_under_way_and_none_named_is_a_mistake() -> None:
    assert sys.exc_info() == (None, None, None)
    with pytest.raises(ValueError, match="exc_info"):
        LoopFuture[int]().set_exception()


def test_reading_a_reply_too_early_is_an_error_and_not_a_dead_lock() -> None:
    future: LoopFuture[int] = LoopFuture()
    assert not future.done()
    with pytest.raises(RuntimeError, match="await this future"):
        future.get()
    future.set(1)
    assert future.done()
    assert future.get() == 1


def test_a_reply_is_given_once() -> None:
    future: LoopFuture[int] = LoopFuture()
    future.set(1)
    with pytest.raises(RuntimeError, match="already"):
        future.set(2)
    with pytest.raises(RuntimeError, match="already"):
        future.set_exception((KeyError, KeyError(), None))
    assert future.get() == 1


def test_pykkas_own_mapping_of_futures_works() -> None:
    future: LoopFuture[int] = LoopFuture()
    future.set(20)
    assert future.map(lambda value: value + 1).get() == 21
