"""The actor that owns the database. It runs in a thread of its own, because a commit waits for the disk.

Everything that waits in its mailbox becomes one transaction: one commit, one flush to disk, then all the
answers at once. So full durability costs each job a small share of a flush.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import pykka

from compute_router.actors.clock import Clock
from compute_router.actors.gathering_inbox import GatheringInbox
from compute_router.actors.messages import Message, StoreRequest
from compute_router.actors.runtime import FailStop, LoopFuture, OnDeath
from compute_router.actors.store_requests import handle
from compute_router.protocol.errors import StorageUnavailableError
from compute_router.storage.interface import Store

if TYPE_CHECKING:
    from pykka._envelope import Envelope

logger = logging.getLogger(__name__)

_MAX_BATCH: Final = 1024


class Answer(msgspec.Struct, frozen=True):
    """What became of one request. ``target`` is whoever waits for it: a future, an actor, or nobody."""

    target: LoopFuture[Any] | pykka.ActorRef[Any] | None
    value: Any
    error: Exception | None = None

    def deliver(self) -> None:
        """Hand the answer over; on the event loop's thread."""
        if isinstance(self.target, LoopFuture):
            if self.error is None:
                self.target.set(self.value)
            else:
                self.target.set_exception((type(self.error), self.error, None))
        elif self.target is not None and self.value is not None and self.target.is_alive():
            self.target.tell(self.value)


Post = Callable[[Sequence[Answer]], None]
"""Takes the answers of a batch to the event loop, which delivers them in order."""


class JobStore(FailStop, pykka.ThreadingActor):
    """Carries requests out in the order in which they came, as few transactions as there can be."""

    def __init__(
        self,
        on_death: OnDeath,
        open_store: Callable[[], Store],
        clock: Clock,
        post: Post,
        on_stopped: Callable[[], None],
    ) -> None:
        super().__init__(on_death)
        self._clock = clock
        self._post = post
        self._on_stopped = on_stopped
        self._store = open_store()

    @staticmethod
    def _create_actor_inbox() -> Any:
        return GatheringInbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return LoopFuture()

    def on_stop(self) -> None:
        self._store.close()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._store.close()
        super().on_failure(exception_type, exception_value, traceback)

    def _actor_loop_teardown(self) -> None:
        # Pykka would settle the futures from this thread; they belong to the event loop.
        while not self.actor_inbox.empty():
            self._refuse(self.actor_inbox.get())
        self._on_stopped()

    def _actor_loop_running(self) -> None:
        while not self.actor_stopped.is_set():
            batch, control = self._next_batch()
            if batch:
                self._run(batch)
            if control is None:
                continue
            if self.actor_stopped.is_set():
                self._refuse(control)
                return
            self._handle_receive(control.message)
            if control.reply_to is not None:
                self._post([Answer(cast("LoopFuture[Any]", control.reply_to), None)])

    def _next_batch(self) -> tuple[list[Envelope[Any]], Envelope[Any] | None]:
        """Wait for mail and take all that is there; a message of Pykka's own ends the batch."""
        envelope = self.actor_inbox.get()
        batch: list[Envelope[Any]] = []
        while True:
            if not isinstance(envelope.message, Message):
                return batch, envelope
            batch.append(envelope)
            if len(batch) == _MAX_BATCH or self.actor_inbox.empty():
                return batch, None
            envelope = self.actor_inbox.get()

    def _run(self, batch: list[Envelope[Any]]) -> None:
        try:
            self._post(self._commit(batch))
        except Exception:
            # One of them cannot be done. None was answered yet, so each may be tried by itself.
            for envelope in batch:
                if self.actor_stopped.is_set():
                    self._refuse(envelope)
                else:
                    self._run_alone(envelope)

    def _run_alone(self, envelope: Envelope[Any]) -> None:
        try:
            self._post(self._commit([envelope]))
        except Exception as error:
            if envelope.reply_to is None:
                # An actor's decision cannot be made durable: memory and disk would part ways from here.
                self._handle_failure(*sys.exc_info())
                self.on_failure(*sys.exc_info())
                return
            if not isinstance(error, StorageUnavailableError):
                logger.exception("request %s failed", type(envelope.message).__name__)
            self._post([Answer(cast("LoopFuture[Any]", envelope.reply_to), None, error)])

    def _refuse(self, envelope: Envelope[Any]) -> None:
        """Tell whoever asked that this actor did not come to the request."""
        if envelope.reply_to is not None:
            error = pykka.ActorDeadError("the job store stopped before it came to this request")
            self._post([Answer(cast("LoopFuture[Any]", envelope.reply_to), None, error)])

    def _commit(self, batch: list[Envelope[Any]]) -> list[Answer]:
        answers = []
        with self._store.transaction():
            for envelope in batch:
                message = envelope.message
                target: Any = envelope.reply_to
                if type(message) is StoreRequest:
                    target = message.reply_to
                    message = message.body
                answers.append(Answer(target, handle(self._store, self._clock, message)))
        return answers
