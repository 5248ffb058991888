"""The actor that holds the conversation with the coordinator and hands jobs to the executors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import pykka

from compute_router.protocol.units import DurationMs
from compute_router.worker.execution import Recipient
from compute_router.worker.executor_pool import ExecutorPool
from compute_router.worker.executors.llm import MODEL_UNAVAILABLE, UNREACHABLE
from compute_router.worker.jobs import Failed, Outcome
from compute_router.worker.session import Session
from compute_router.worker.session_events import (
    ClosedForGood,
    CloseSocket,
    Connect,
    Drained,
    Effect,
    Event,
    JobFinished,
    MonotonicMs,
    ReconnectDue,
    RunJob,
    ScheduleReconnect,
    SendFrame,
    StopJob,
    Tick,
)
from compute_router.worker.socket_link import LinkBroken

_log = logging.getLogger(__name__)


class Link(Protocol):
    """The socket, as the actor uses it."""

    def connect(self) -> None:
        """Open it."""

    def send(self, frame: bytes) -> None:
        """Send a text frame."""

    def close(self, code: int, reason: str) -> None:
        """Begin to close it."""


class Surroundings(Protocol):
    """What the actor needs from the world around it."""

    def now(self) -> MonotonicMs:
        """The time."""

    def tell_later(self, delay: DurationMs, event: Event) -> None:
        """Have an event told to the connection after a delay."""

    def ollama_lost(self) -> None:
        """A job found that Ollama does not answer, or has no more the model that it should have."""

    def end(self, exit_code: int, reason: str) -> None:
        """End the worker."""


class ConnectionActor(pykka.ThreadingActor):
    """Feeds events to the session and carries out its effects; decides nothing itself."""

    use_daemon_thread: ClassVar[bool] = True

    def __init__(
        self,
        session: Session,
        make_link: Callable[[Recipient], Link],
        executors: Sequence[Recipient],
        surroundings: Surroundings,
    ) -> None:
        super().__init__()
        self._session = session
        self._link = make_link(self.actor_ref)
        self._pool = ExecutorPool(executors, self.actor_ref)
        self._surroundings = surroundings
        self._tick_at: MonotonicMs | None = None

    def on_receive(self, message: Event | LinkBroken) -> None:
        """Take one event in."""
        if isinstance(message, LinkBroken):
            raise message.error
        if isinstance(message, JobFinished) and self._pool.free(message.key):
            self._look_at_ollama_after(message.outcome)
        for effect in self._session.handle(message, self._surroundings.now()):
            self._perform(effect)
        self._schedule_tick()

    def on_stop(self) -> None:
        """Nobody is left to hear of the jobs that still run."""
        self._pool.stop_all()

    def on_failure(self, *_exc_info: object) -> None:
        """A defect in the conversation ends the worker: half a worker would only lose jobs."""
        self._pool.stop_all()
        self._surroundings.end(1, "The worker stops because of a defect; see the lines above.")

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendFrame(data):
                self._link.send(data)
            case RunJob(assignment):
                self._pool.run(assignment)
            case StopJob(key):
                self._pool.stop(key)
            case Connect():
                self._link.connect()
            case CloseSocket(code, reason):
                self._link.close(code, reason)
            case ScheduleReconnect(delay, reason):
                _log.warning("The coordinator %s. Next try in %.1f s.", reason, delay / 1000)
                self._surroundings.tell_later(delay, ReconnectDue())
            case ClosedForGood(reason):
                self._surroundings.end(1, reason)
            case Drained(reason):
                self._surroundings.end(0, reason)
            case _:
                raise TypeError(f"not an effect of the session: {effect!r}")

    def _look_at_ollama_after(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failed) and outcome.code in (UNREACHABLE, MODEL_UNAVAILABLE):
            self._surroundings.ollama_lost()

    def _schedule_tick(self) -> None:
        wake_at = self._session.wake_at
        if wake_at is not None and wake_at != self._tick_at:
            delay = DurationMs(max(0, wake_at - self._surroundings.now()))
            self._surroundings.tell_later(delay, Tick())
        self._tick_at = wake_at
