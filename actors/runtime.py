"""Actors that live on the event loop, as one more Pykka actor type.

A :class:`LoopActor` has no thread. Its inbox is drained by a callback on the running asyncio loop (the
one that Tornado uses), one message at a time, so a message is handled whole before the next one and no
lock is needed. ``tell`` and ``ask`` on such an actor are for the loop's own thread; another thread
hands its messages over with ``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections import deque
from collections.abc import Callable, Generator
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import pykka

if TYPE_CHECKING:
    from pykka._envelope import Envelope
    from pykka._types import OptExcInfo

T = TypeVar("T")

_MESSAGES_PER_TURN: Final = 512
"""How many messages the actors may handle before the loop sees to its sockets again."""


class LoopFuture(pykka.Future[T]):
    """A reply that can be awaited by any number of coroutines on the loop.

    Unlike Pykka's thread future, waiting for it never blocks the thread, and reading it too early is an
    error instead of a dead-lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def done(self) -> bool:
        """Whether the reply is there."""
        return self._done

    def get(self, *, timeout: float | None = None) -> T:
        """The reply, which must be there already.

        Raises:
            RuntimeError: there is no reply yet, and waiting here would block the event loop.
        """
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if not self._done:
            raise RuntimeError("no reply yet: await this future, do not get() it")
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def set(self, value: T | None = None) -> None:
        """Give the reply and wake whoever awaits it."""
        self._settle(value, None)

    def set_exception(self, exc_info: OptExcInfo | None = None) -> None:
        """Give an exception as the reply."""
        _, error, traceback = exc_info or sys.exc_info()
        if error is None:
            raise ValueError("set_exception() outside an except block needs exc_info")
        self._settle(None, error.with_traceback(traceback))

    def _settle(self, value: T | None, error: BaseException | None) -> None:
        if self._done:
            raise RuntimeError("this future has its reply already")
        self._done, self._value, self._error = True, value, error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done and self._get_hook is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            yield from waiter
        return self.get()

    __iter__ = __await__


class Drained(BaseException):
    """Nothing more to handle in this turn. Not an Exception, so that no actor code can swallow it."""


class Dispatcher:
    """Runs the inboxes that hold mail, in turn, from one callback of the loop.

    A message told while another is handled is delivered in the same turn of the loop, so a chain of
    actors costs no extra turns.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not held: the table of dispatchers, whose keys are the loops, would never let go of one.
        self._loop = weakref.ref(loop)
        self._ready: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self._running = False
        self.left = 0
        """How many more messages may be handled in this turn of the loop."""

    def submit(self, drain: Callable[[], None]) -> None:
        """Have an inbox drained soon."""
        self._ready.append(drain)
        if not self._scheduled:
            self._scheduled = True
            self._call_soon()

    def run_now(self) -> None:
        """Have everything drained before going on, without a turn of the loop. For the edge of the system.

        Does nothing when called from inside an actor, which handles one message at a time.
        """
        if not self._running:
            self._drain_all()

    def _run(self) -> None:
        self._drain_all()
        if self._ready:
            self._call_soon()
        else:
            self._scheduled = False

    def _call_soon(self) -> None:
        loop = self._loop()
        if loop is not None:
            loop.call_soon(self._run)

    def _drain_all(self) -> None:
        self._running = True
        self.left = _MESSAGES_PER_TURN
        try:
            while self._ready and self.left:
                self._ready.popleft()()
        finally:
            self._running = False


_DISPATCHERS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Dispatcher] = weakref.WeakKeyDictionary()


def running_dispatcher() -> Dispatcher:
    """The dispatcher of the running loop.

    Raises:
        RuntimeError: no loop runs in this thread.
    """
    loop = asyncio.get_running_loop()
    dispatcher = _DISPATCHERS.get(loop)
    if dispatcher is None:
        dispatcher = _DISPATCHERS[loop] = Dispatcher(loop)
    return dispatcher


class LoopInbox:
    """A mailbox that has its actor drained by the loop. Holds the actor alive through ``drain``."""

    def __init__(self) -> None:
        self._envelopes: deque[Envelope[Any]] = deque()
        self._dispatcher = running_dispatcher()
        self._drain: Callable[[], None] | None = None
        self._queued = False
        self._closing = False

    def attach(self, drain: Callable[[], None]) -> None:
        """Name the function that handles what is in here. Mail that came before is seen to now."""
        self._drain = drain
        if self._envelopes:
            self._queue()

    def put(self, envelope: Envelope[Any], /) -> None:
        self._envelopes.append(envelope)
        if not self._queued:
            self._queue()

    def get(self) -> Envelope[Any]:
        if not self._closing:
            if not self._envelopes or self._dispatcher.left == 0:
                raise Drained
            self._dispatcher.left -= 1
        return self._envelopes.popleft()

    def empty(self) -> bool:
        return not self._envelopes

    def waiting(self) -> int:
        """How many messages are in here."""
        return len(self._envelopes)

    def run_now(self) -> None:
        """Have all mail on this loop handled before going on; see :meth:`Dispatcher.run_now`."""
        self._dispatcher.run_now()

    def open_for_teardown(self) -> None:
        """Let go of everything, whatever the turn still allows."""
        self._closing = True

    def close_turn(self) -> None:
        """Come again if mail is left over."""
        self._queued = False
        if self._envelopes:
            self._queue()

    def _queue(self) -> None:
        if self._drain is not None:
            self._queued = True
            self._dispatcher.submit(self._drain)


OnDeath = Callable[[BaseException], None]
"""Told when a core actor dies. The process must then end: see :class:`FailStop`."""


class FailStop(pykka.Actor):
    """An actor whose death is told to whoever must end the process.

    A coordinator without one of its actors would take jobs that nobody matches or stores. The next start
    recovers everything from the store, so a quick death is the safe one.
    """

    def __init__(self, on_death: OnDeath) -> None:
        super().__init__()
        self._on_death = on_death

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception_value is not None:
            self._on_death(exception_value)


class LoopActor(FailStop):
    """An actor that handles its messages on the event loop, one at a time, without a thread."""

    @staticmethod
    def _create_actor_inbox() -> LoopInbox:
        return LoopInbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return LoopFuture()

    def _start_actor_loop(self) -> None:
        self._actor_loop_setup()
        cast("LoopInbox", self.actor_inbox).attach(self._drain)

    def _drain(self) -> None:
        try:
            # Pykka's own loop, for its handling of replies and errors; the inbox ends it when it is empty.
            self._actor_loop_running()
        except Drained:
            cast("LoopInbox", self.actor_inbox).close_turn()
        else:
            # However much mail is left, all of it is answered now: nothing will drain this inbox again.
            cast("LoopInbox", self.actor_inbox).open_for_teardown()
            self._actor_loop_teardown()

    def _handle_receive(self, message: Any) -> Any:
        reply = super()._handle_receive(message)
        if type(reply) is CoroutineType:
            reply.close()
            raise TypeError(f"{type(self).__name__} answered {type(message).__name__} with a coroutine")
        return reply


def is_behind(ref: pykka.ActorRef[Any], most: int) -> bool:
    """Whether more messages than that wait for an actor on the loop."""
    inbox = ref.actor_inbox
    return type(inbox) is LoopInbox and inbox.waiting() > most


async def until_caught_up(ref: pykka.ActorRef[Any], most: int) -> None:
    """Wait until no more messages than that wait for an actor on the loop."""
    while is_behind(ref, most):  # noqa: ASYNC110 - an event set for each message would cost more than these turns
        # Each turn of the loop handles some.
        await asyncio.sleep(0)


async def ask(ref: pykka.ActorRef[Any], message: object) -> Any:
    """Send a message from the edge of the system and await the reply.

    An actor on the loop is let handle it at once: going to sleep for it would cost more than the answer.
    """
    future = cast("LoopFuture[Any]", ref.ask(message, block=False))
    inbox = ref.actor_inbox
    if type(inbox) is LoopInbox:
        inbox.run_now()
    return await future
