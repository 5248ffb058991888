"""The actor that owns the database. It runs in a thread of its own, because a commit waits for the disk.

Everything that waits in its mailbox becomes one transaction: one commit, one flush to disk, then all the
answers at once. So full durability costs each job a small share of a flush.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, cast

import msgspec
import pykka
from pykka._envelope import Envelope

from compute_router.actors.clock import Clock, SteadyMs
from compute_router.actors.gathering_inbox import GatheringInbox
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import KeepReceipt, NoteAlive
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.actors.runtime import FailStop, LoopFuture, OnDeath
from compute_router.actors.store_requests import READ_ONLY, handle
from compute_router.actors.wording import counted
from compute_router.protocol.errors import RequestError, StorageUnavailableError
from compute_router.protocol.messages import ErrorFrame
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import Store

logger = logging.getLogger(__name__)

_MAX_BATCH: Final = 1024
_RETRY: Final = DurationMs(500)


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
    """Carries requests out in the order in which they came, as few transactions as there can be.

    While the database cannot be written (disk full, I/O error), what other actors decided is held back in
    order and tried again until it succeeds; nobody is told of a decision before it is stored. Requests
    from the edge are refused meanwhile, except those that only read.
    """

    def __init__(
        self,
        on_death: OnDeath,
        open_store: Callable[[], Store],
        clock: Clock,
        post: Post,
        on_stopped: Callable[[], None],
        report: Callable[[str | None], None],
    ) -> None:
        super().__init__(on_death)
        self._clock = clock
        self._post = post
        self._on_stopped = on_stopped
        self._report = report
        self._held: list[Envelope[Any]] = []
        self._fault: StorageUnavailableError | None = None
        self._retry_at = SteadyMs(0)
        self._store = open_store()

    @staticmethod
    def _create_actor_inbox() -> Any:
        return GatheringInbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return LoopFuture()

    def on_stop(self) -> None:
        if self._fault is not None:
            self._try_again()
        if self._held:
            logger.error(
                "%s could not be stored before the stop; nothing of it was announced, and the next start "
                "takes up what it was about",
                counted(len(self._held), "decision"),
            )
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
            if self._retry_is_due(quiet=not batch and control is None):
                self._try_again()
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
        inbox = cast("GatheringInbox", self.actor_inbox)
        envelope = inbox.get() if self._fault is None else inbox.get_within(_RETRY / 1000)
        batch: list[Envelope[Any]] = []
        while envelope is not None:
            if not isinstance(envelope.message, Message):
                return batch, envelope
            batch.append(envelope)
            if len(batch) == _MAX_BATCH or inbox.empty():
                break
            envelope = inbox.get()
        return batch, None

    def _run(self, batch: list[Envelope[Any]]) -> None:
        if self._fault is not None:
            self._hold_or_refuse(batch, self._fault)
            return
        try:
            self._post(self._commit(batch))
        except StorageUnavailableError as error:
            self._suspend(error)
            self._hold_or_refuse(batch, error)
        except Exception:
            # One of them cannot be done. None was answered yet, so each may be tried by itself.
            for envelope in batch:
                self._run_alone(envelope)

    def _run_alone(self, envelope: Envelope[Any]) -> None:
        if self.actor_stopped.is_set():
            self._refuse(envelope)
            return
        if self._fault is not None:
            self._hold_or_refuse([envelope], self._fault)
            return
        try:
            self._post(self._commit([envelope]))
        except StorageUnavailableError as error:
            self._suspend(error)
            self._hold_or_refuse([envelope], error)
        except Exception as error:
            if envelope.reply_to is None:
                # An actor's decision cannot be made durable: memory and disk would part ways from here.
                self._handle_failure(*sys.exc_info())
                self.on_failure(*sys.exc_info())
                return
            if not isinstance(error, RequestError):
                logger.exception("request %s failed", type(envelope.message).__name__)
            self._post([Answer(cast("LoopFuture[Any]", envelope.reply_to), None, error)])

    def _suspend(self, error: StorageUnavailableError) -> None:
        self._fault = error
        self._retry_at = SteadyMs(self._clock.steady_ms() + _RETRY)
        self._report(str(error))
        logger.warning("the database cannot be written, it is tried again until it can: %s", error)

    def _hold_or_refuse(self, batch: list[Envelope[Any]], fault: StorageUnavailableError) -> None:
        answers = []
        for envelope in batch:
            if envelope.reply_to is None:
                answers += self._hold(envelope)
            else:
                answers.append(self._read_or_refuse(envelope, fault))
        self._post(answers)

    def _hold(self, envelope: Envelope[Any]) -> list[Answer]:
        """Keep a decision for later. A receipt that came alone decides nothing, and can be sent again."""
        request = envelope.message
        if isinstance(request, StoreRequest) and isinstance(request.body, KeepReceipt):
            message = "The receipt cannot be stored now; send it again later."
            refusal = Deliver(request.body.worker_id, ErrorFrame("STORAGE_UNAVAILABLE", message))
            return [Answer(request.reply_to, refusal)]
        self._held.append(envelope)
        return []

    def _read_or_refuse(self, envelope: Envelope[Any], fault: StorageUnavailableError) -> Answer:
        target = cast("LoopFuture[Any]", envelope.reply_to)
        if type(envelope.message) not in READ_ONLY:
            return Answer(target, None, fault)
        try:
            return Answer(target, handle(self._store, self._clock, envelope.message))
        except StorageUnavailableError as error:
            return Answer(target, None, error)

    def _retry_is_due(self, *, quiet: bool) -> bool:
        """Whether to see if writing works again: not at each mail, because all that is held is tried."""
        if self._fault is None or self.actor_stopped.is_set():
            return False
        return quiet or self._clock.steady_ms() >= self._retry_at

    def _try_again(self) -> None:
        """Store what was held back, in its order; without any, find out whether writing works again."""
        held = self._held
        try:
            answers = self._commit([*held, _PROBE])
        except StorageUnavailableError:
            self._retry_at = SteadyMs(self._clock.steady_ms() + _RETRY)
        except Exception:
            self._resume()
            for envelope in held:
                self._run_alone(envelope)
        else:
            self._resume()
            self._post(answers)

    def _resume(self) -> None:
        logger.warning(
            "the database can be written again; %s held back is stored", counted(len(self._held), "decision")
        )
        self._held = []
        self._fault = None
        self._report(None)

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


_PROBE: Final[Envelope[Any]] = Envelope(NoteAlive())
