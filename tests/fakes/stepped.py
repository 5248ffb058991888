"""Actors without a thread or a loop: a test tells them messages and lets them handle one at a time.

::

    class SteppedMatcher(Stepped, Matcher):
        pass

    store = RecordingRef()
    matcher = SteppedMatcher.start(..., store=store, ...)
    matcher.tell(Submit(job))
    mailbox(matcher).step()
    assert store.told == [...]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pykka

from compute_router.actors.runtime import Drained, LoopFuture

if TYPE_CHECKING:
    from pykka._envelope import Envelope


class Mailbox:
    """An inbox whose mail stays where it is until the test has it handled."""

    def __init__(self) -> None:
        self._mail: deque[Envelope[Any]] = deque()
        self._actor: Stepped | None = None
        self._allowed: int | None = 0

    def __len__(self) -> int:
        """Number of messages that wait."""
        return len(self._mail)

    @property
    def messages(self) -> list[Any]:
        """The messages that wait, in order."""
        return [envelope.message for envelope in self._mail]

    def step(self) -> None:
        """Have the next message handled.

        Raises:
            AssertionError: there is none.
        """
        assert self._mail, "there is no mail to handle"
        self._turn(1)

    def run(self) -> None:
        """Have messages handled until none is left, those that arrive meanwhile included."""
        self._turn(None)

    # What Pykka and the actors use

    def attach(self, actor: Stepped) -> None:
        """Name the actor. Its ref holds it weakly, so this also keeps it alive."""
        self._actor = actor

    def put(self, envelope: Envelope[Any], /) -> None:
        self._mail.append(envelope)

    def get(self) -> Envelope[Any]:
        if self.empty():
            raise Drained
        if self._allowed is not None:
            self._allowed -= 1
        return self._mail.popleft()

    def empty(self) -> bool:
        return not self._mail or self._allowed == 0

    def _turn(self, allowed: int | None) -> None:
        assert self._actor is not None, "the actor was not started"
        self._allowed = allowed
        try:
            self._actor._actor_loop_running()
        except Drained:
            return
        self._allowed = None
        self._actor._actor_loop_teardown()


class Stepped(pykka.Actor):
    """Mix-in, named before the actor's own class: its mailbox is a :class:`Mailbox`.

    Errors are Pykka's: an exception in a told message is logged and stops the actor, in an asked one it
    goes into the future. Nothing runs, so the actor is not in Pykka's registry and need not be stopped.
    """

    # Pykka has no public way to make another kind of actor; these three are what its own kinds override.

    @staticmethod
    def _create_actor_inbox() -> Any:
        return Mailbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return LoopFuture()

    def _start_actor_loop(self) -> None:
        pykka.ActorRegistry.unregister(self.actor_ref)
        cast("Mailbox", self.actor_inbox).attach(self)
        self._actor_loop_setup()


def mailbox(ref: pykka.ActorRef[Any]) -> Mailbox:
    """The mailbox of a stepped actor."""
    inbox = ref.actor_inbox
    assert isinstance(inbox, Mailbox), f"{ref} is not a stepped actor"
    return inbox


class RecordingRef(pykka.ActorRef[Any]):
    """Stands for an actor that is not there, and writes down what it is told and asked.

    Args:
        reply: computes the answer to an ask; without it, an ask stays unanswered.
    """

    def __init__(self, reply: Callable[[Any], Any] | None = None) -> None:
        # Not ActorRef's own: there is no actor to refer to.
        self._reply = reply
        self._alive = True
        self.told: list[Any] = []
        self.asked: list[Any] = []

    def __repr__(self) -> str:
        return "<RecordingRef>"

    __str__ = __repr__

    def is_alive(self) -> bool:
        return self._alive

    def die(self) -> None:
        """From now on, behave like the ref of a stopped actor."""
        self._alive = False

    def tell(self, message: Any) -> None:
        if not self._alive:
            raise pykka.ActorDeadError(f"{self} not found")
        self.told.append(message)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        future: LoopFuture[Any] = LoopFuture()
        self.asked.append(message)
        if not self._alive:
            error = pykka.ActorDeadError(f"{self} not found")
            future.set_exception((type(error), error, None))
        elif self._reply is not None:
            future.set(self._reply(message))
        return future.get() if block else future

    def take(self) -> list[Any]:
        """What it was told since the last call."""
        told, self.told = self.told, []
        return told
