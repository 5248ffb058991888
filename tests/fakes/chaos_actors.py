"""The coordinator's real wiring with every actor stepped by hand, and answers that can be held back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast
from unittest import mock

from compute_router.actors import system as wiring
from compute_router.actors.janitor import Janitor
from compute_router.actors.job_store import Answer, JobStore
from compute_router.actors.matcher import Matcher
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.payment_gate import PaymentGate
from compute_router.actors.retry_scheduler import RetryScheduler
from compute_router.actors.runtime import Drained
from compute_router.actors.worker_registry import WorkerRegistry
from tests.fakes.stepped import Mailbox, Stepped

if TYPE_CHECKING:
    from pykka._envelope import Envelope


class StoreMailbox(Mailbox):
    """The JobStore's: it can take several messages as one batch, and the pause before a retry can end.

    ``on_request`` hears what other actors tell the store, at the moment in which they do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pause_over = False
        self.on_request: Callable[[Message], None] = lambda request: None

    def put(self, envelope: Envelope[Any], /) -> None:
        if isinstance(envelope.message, StoreRequest):
            self.on_request(envelope.message.body)
        super().put(envelope)

    def take(self, count: int) -> None:
        """Have up to this many messages handled, as one batch if the JobStore likes."""
        self._turn(count)

    def end_pause(self) -> None:
        """Half a second has passed without mail; counts only while the database cannot be written."""
        self.pause_over = True
        self._turn(0)
        self.pause_over = False

    def get_within(self, seconds: float) -> Any:
        if not self.empty():
            return self.get()
        if not self.pause_over:
            raise Drained
        self.pause_over = False
        return None


class Births:
    """Mailboxes of the actors of one coordinator, by the actor's name, in the order of their start."""

    current: ClassVar[dict[str, Mailbox]] = {}


class _Born(Stepped):
    def _start_actor_loop(self) -> None:
        super()._start_actor_loop()
        Births.current[type(self).__name__] = cast("Mailbox", self.actor_inbox)


class SteppedStore(_Born, JobStore):
    @staticmethod
    def _create_actor_inbox() -> Any:
        return StoreMailbox()


class SteppedMatcher(_Born, Matcher):
    pass


class SteppedRegistry(_Born, WorkerRegistry):
    pass


class SteppedScheduler(_Born, RetryScheduler):
    pass


class SteppedGate(_Born, PaymentGate):
    pass


class SteppedJanitor(_Born, Janitor):
    pass


@contextmanager
def stepped_wiring(answers: deque[Sequence[Answer]]) -> Iterator[dict[str, Mailbox]]:
    """While this lasts, ``start_system`` starts stepped actors; their mailboxes appear in the dictionary.

    Answers of the JobStore are put into ``answers`` instead of being delivered.
    """
    Births.current = {}
    with mock.patch.multiple(
        wiring,
        JobStore=SteppedStore,
        Matcher=SteppedMatcher,
        WorkerRegistry=SteppedRegistry,
        RetryScheduler=SteppedScheduler,
        PaymentGate=SteppedGate,
        Janitor=SteppedJanitor,
        _deliver_all=answers.append,  # the only place between a commit and what follows from it
    ):
        yield Births.current


async def settle() -> None:
    """Let every coroutine that can go on do so."""
    for _ in range(3):
        await asyncio.sleep(0)
