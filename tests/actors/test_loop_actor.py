"""Actors that live on the event loop."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import weakref
from typing import Any

import pykka
import pytest

from compute_router.actors.runtime import LoopActor, ask, is_behind, running_dispatcher, until_caught_up


class Recorder(LoopActor):
    """Writes down what it is told; calls what can be called."""

    def __init__(self, seen: list[Any], deaths: list[BaseException] | None = None) -> None:
        super().__init__(([] if deaths is None else deaths).append)
        self.seen = seen
        self.inside = False

    def on_receive(self, message: Any) -> Any:
        assert not self.inside, "two messages at a time"
        self.inside = True
        try:
            self.seen.append(message)
            return message() if callable(message) else message
        finally:
            self.inside = False

    def on_stop(self) -> None:
        self.seen.append("stopped")


async def turn_of_the_loop() -> None:
    """Let everything that the loop has to do now be done once."""
    await asyncio.sleep(0)


async def settled(ref: pykka.ActorRef[Any]) -> None:
    """Wait until an actor handled all mail so far."""
    await ask(ref, "settled?")


def test_messages_are_handled_in_order_and_one_at_a_time() -> None:
    async def scene() -> list[Any]:
        seen: list[Any] = []
        ref = Recorder.start(seen)
        for number in range(1000):
            ref.tell(number)
        assert seen == [], "a tell must not run the receiver"
        assert await ask(ref, "last") == "last"
        ref.stop(block=False)
        await turn_of_the_loop()
        return seen

    assert asyncio.run(scene()) == [*range(1000), "last", "stopped"]


def test_a_message_to_oneself_waits_for_its_turn() -> None:
    async def scene() -> list[Any]:
        seen: list[Any] = []
        ref = Recorder.start(seen)
        ref.tell(lambda: ref.tell("second"))
        await settled(ref)
        ref.stop(block=False)
        await turn_of_the_loop()
        return seen[1:]

    assert asyncio.run(scene()) == ["settled?", "second", "stopped"]


def test_a_chain_of_actors_takes_one_turn_of_the_loop() -> None:
    async def scene() -> list[Any]:
        seen: list[Any] = []
        last = Recorder.start(seen)
        middle = Recorder.start([])
        middle.tell(lambda: last.tell("arrived"))
        await turn_of_the_loop()
        for ref in (middle, last):
            ref.stop(block=False)
        await turn_of_the_loop()
        return seen

    assert asyncio.run(scene()) == ["arrived", "stopped"]


def test_an_exception_in_an_ask_goes_to_the_caller_and_the_actor_lives() -> None:
    async def scene() -> None:
        ref = Recorder.start([])
        with pytest.raises(ZeroDivisionError):
            await ask(ref, lambda: 1 // 0)
        assert await ask(ref, "alive") == "alive"
        ref.stop(block=False)
        await turn_of_the_loop()

    asyncio.run(scene())


def test_an_exception_in_a_tell_ends_the_actor_and_is_told(expected_errors: list[logging.LogRecord]) -> None:
    async def scene() -> list[BaseException]:
        deaths: list[BaseException] = []
        ref = Recorder.start([], deaths)
        ref.tell(lambda: 1 // 0)
        answer = asyncio.create_task(ask(ref, "too late"))
        with pytest.raises(pykka.ActorDeadError):
            await answer
        assert not ref.is_alive()
        return deaths

    (death,) = asyncio.run(scene())
    assert isinstance(death, ZeroDivisionError)
    assert len(expected_errors) == 1


def test_everybody_who_asked_an_actor_that_dies_gets_an_error_however_many(
    expected_errors: list[logging.LogRecord],
) -> None:
    async def scene() -> None:
        ref = Recorder.start([])
        other = Recorder.start([])
        ref.tell(lambda: 1 // 0)
        asked = [ref.ask(number, block=False) for number in range(2000)]
        await turn_of_the_loop()
        for future in asked:
            with pytest.raises(pykka.ActorDeadError):
                future.get()
        assert await ask(other, "unharmed") == "unharmed"
        other.stop(block=False)
        await turn_of_the_loop()

    asyncio.run(scene())
    assert len(expected_errors) == 1


def test_a_coroutine_is_no_answer() -> None:
    async def answer() -> None:
        raise AssertionError("never run")

    async def scene() -> None:
        ref = Recorder.start([])
        with pytest.raises(TypeError, match="coroutine"):
            await ask(ref, answer)
        ref.stop(block=False)
        await turn_of_the_loop()

    asyncio.run(scene())


def test_mail_that_came_before_the_stop_is_handled_first() -> None:
    async def scene() -> list[Any]:
        seen: list[Any] = []
        ref = Recorder.start(seen)
        ref.tell("before")
        ref.stop(block=False)
        answer = ref.ask("after", block=False)
        await turn_of_the_loop()
        with pytest.raises(pykka.ActorDeadError):
            answer.get()
        return seen

    assert asyncio.run(scene()) == ["before", "stopped"]


def test_a_stopped_actor_can_be_told_and_asked_nothing() -> None:
    async def scene() -> None:
        ref = Recorder.start([])
        ref.stop(block=False)
        await turn_of_the_loop()
        assert not ref.is_alive()
        with pytest.raises(pykka.ActorDeadError):
            ref.tell("anything")
        with pytest.raises(pykka.ActorDeadError):
            await ask(ref, "anything")

    asyncio.run(scene())


def test_an_actor_that_never_stops_talking_to_itself_does_not_starve_the_loop() -> None:
    async def scene() -> list[int]:
        seen: list[Any] = []
        ref = Recorder.start(seen)

        def again() -> None:
            ref.tell(again)

        ref.tell(again)
        handled = []
        for _ in range(4):
            await turn_of_the_loop()
            handled.append(len(seen))
        ref.tell(lambda: ref.stop(block=False))
        while ref.is_alive():
            await turn_of_the_loop()
        return handled

    handled = asyncio.run(scene())
    assert all(later - earlier <= 512 for earlier, later in itertools.pairwise(handled))
    assert handled[-1] > handled[0]


def test_a_flood_of_one_actor_does_not_starve_another() -> None:
    async def scene() -> int:
        flooded: list[Any] = []
        ref = Recorder.start(flooded)
        other = Recorder.start([])
        for number in range(10_000):
            ref.tell(number)
        await ask(other, "hello")
        handled_meanwhile = len(flooded)
        for each in (ref, other):
            each.stop(block=False)
        while ref.is_alive():
            await turn_of_the_loop()
        assert len(flooded) == 10_001
        return handled_meanwhile

    # One turn for the flood, and one in which the reply is on its way.
    assert asyncio.run(scene()) <= 2 * 512


def test_an_actor_that_nobody_holds_a_ref_to_still_gets_its_mail() -> None:
    async def scene() -> list[Any]:
        seen: list[Any] = []
        Recorder.start(seen).tell("hello")
        await turn_of_the_loop()
        for ref in pykka.ActorRegistry.get_by_class(Recorder):
            ref.stop(block=False)
        await turn_of_the_loop()
        return seen

    assert asyncio.run(scene()) == ["hello", "stopped"]


def test_mail_that_an_actor_sends_itself_while_it_starts_is_handled() -> None:
    class Eager(Recorder):
        def on_start(self) -> None:
            self.actor_ref.tell("from on_start")

    async def scene() -> list[Any]:
        seen: list[Any] = []
        ref = Eager.start(seen)
        await settled(ref)
        ref.stop(block=False)
        await turn_of_the_loop()
        return seen

    assert asyncio.run(scene()) == ["from on_start", "settled?", "stopped"]


def test_a_loop_actor_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        Recorder([])


def test_each_loop_has_one_dispatcher_of_its_own() -> None:
    async def scene() -> object:
        assert running_dispatcher() is running_dispatcher()
        return running_dispatcher()

    assert asyncio.run(scene()) is not asyncio.run(scene())


def test_a_closed_loop_is_let_go_of_with_its_dispatcher() -> None:
    async def scene() -> weakref.ref[asyncio.AbstractEventLoop]:
        ref = Recorder.start([])
        await settled(ref)
        ref.stop(block=False)
        await turn_of_the_loop()
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(scene())
    gc.collect()
    assert loop() is None


def test_whoever_feeds_an_actor_can_wait_until_it_has_caught_up() -> None:
    async def scene() -> None:
        seen: list[Any] = []
        ref = Recorder.start(seen)
        for number in range(5_000):
            ref.tell(number)
        assert is_behind(ref, 1_000)
        await until_caught_up(ref, 1_000)
        assert not is_behind(ref, 1_000)
        assert 4_000 <= len(seen) < 5_000
        await settled(ref)
        ref.stop(block=False)
        await settled_or_dead(ref)

    async def settled_or_dead(ref: pykka.ActorRef[Any]) -> None:
        while ref.is_alive():
            await turn_of_the_loop()

    asyncio.run(scene())
