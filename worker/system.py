"""The wiring of a worker: what is started in which order, and stopped in reverse."""

from __future__ import annotations

import contextlib
import platform
import random
import secrets
import time
from importlib.metadata import version
from queue import SimpleQueue
from typing import Final

import msgspec
import pykka
from nacl.signing import SigningKey

from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.units import DurationMs
from compute_router.worker.addresses import websocket_url
from compute_router.worker.backoff import Backoff
from compute_router.worker.connection import ConnectionActor
from compute_router.worker.execution import ExecutorActor, Recipient
from compute_router.worker.executors.runner import JobRunner
from compute_router.worker.loop_thread import LoopThread
from compute_router.worker.machine import MachineMeter
from compute_router.worker.ollama_watch import CHECK_EVERY, Check, Offer, OllamaWatchActor, look_at_ollama
from compute_router.worker.sealed_jobs import SealedJobRunner
from compute_router.worker.session import Identity, Session
from compute_router.worker.session_events import DrainAsked, Event, ModelsChanged, MonotonicMs
from compute_router.worker.settings import Settings
from compute_router.worker.socket_link import SocketLink
from compute_router.worker.timing import Timing

_STOP_SECONDS: Final = 5.0
_IDLE_STOP_SECONDS: Final = 0.5


class Ending(msgspec.Struct, frozen=True):
    """Why the worker ends. ``exit_code`` is 0 when it was asked to."""

    exit_code: int
    reason: str


class SignalCame(msgspec.Struct, frozen=True):
    """The operating system wants the worker to end."""


Notice = Ending | SignalCame


class WorkerSystem:
    """A running worker: a loop thread, the connection, one executor per slot, and a watch on Ollama."""

    def __init__(
        self,
        settings: Settings,
        key: SigningKey,
        notices: SimpleQueue[Notice],
        timing: Timing | None = None,
    ) -> None:
        """``notices`` is told the :class:`Ending` of the worker; stopping it is up to the caller.

        ``timing`` None is the usual one, with the settings' time to drain.
        """
        self._settings = settings
        self._notices = notices
        self._timing = timing or Timing(drain_limit=settings.drain_limit)
        self._loop = LoopThread()
        self._runner = SealedJobRunner(JobRunner(settings.ollama), key)
        self._session = Session(
            Identity(
                key,
                settings.provider_type,
                settings.slots,
                _agent(),
                secrets.token_hex(16),
                settings.payout_address,
            ),
            Backoff(random.SystemRandom().random),
            MachineMeter().read,
            self._timing,
        )
        self._link: SocketLink | None = None
        self._connection: pykka.ActorRef[ConnectionActor] | None = None
        self._watch: pykka.ActorRef[OllamaWatchActor] | None = None
        self._executors: list[pykka.ActorRef[ExecutorActor]] = []

    def start(self) -> None:
        """Start everything; the first look at Ollama starts the conversation."""
        self._loop.start()
        self._executors = [ExecutorActor.start(self._runner) for _ in range(self._settings.slots)]
        self._connection = ConnectionActor.start(self._session, self._make_link, self._executors, self)
        if self._settings.provider_type is ProviderType.SEEKER:
            self._tell(ModelsChanged(()))
            return
        self._watch = OllamaWatchActor.start(self._look_at_ollama, self._tell)
        self._check_ollama()

    def drain(self) -> None:
        """Take no more jobs; an :class:`Ending` follows when those that are here are done and delivered."""
        self._tell(DrainAsked())

    def stop(self) -> None:
        """Close the socket and end all threads. Jobs that still run are left to the coordinator."""
        workers = [ref for ref in (self._watch, *self._executors) if ref is not None]
        stopping = [ref.stop(block=False) for ref in workers]
        if self._connection is not None:
            self._connection.stop(timeout=_STOP_SECONDS)
        if self._link is not None:
            self._link.shut_down()
        self._loop.stop()
        # An executor in the middle of a job is a daemon thread: it does not hold up the end.
        with contextlib.suppress(pykka.Timeout):
            pykka.get_all(stopping, timeout=_IDLE_STOP_SECONDS)

    # What the connection needs

    def now(self) -> MonotonicMs:
        """The time."""
        return MonotonicMs(time.monotonic_ns() // 1_000_000)

    def tell_later(self, delay: DurationMs, event: Event) -> None:
        """Have an event told to the connection after a delay."""
        self._loop.call_later(delay, lambda: self._tell(event))

    def ollama_lost(self) -> None:
        """Look at Ollama without waiting for the next regular look."""
        if self._watch is not None:
            _tell_if_alive(self._watch, Check())

    def end(self, exit_code: int, reason: str) -> None:
        """End the worker."""
        self._notices.put(Ending(exit_code, reason))

    def _make_link(self, connection: Recipient) -> SocketLink:
        url = websocket_url(self._settings.coordinator)
        self._link = SocketLink(
            self._loop, url, self._timing.connect_wait, lambda event: _tell_if_alive(connection, event)
        )
        return self._link

    def _tell(self, event: Event) -> None:
        assert self._connection is not None, "events come only after the start"
        _tell_if_alive(self._connection, event)

    def _look_at_ollama(self) -> Offer:
        return look_at_ollama(self._settings.ollama, self._settings.model)

    def _check_ollama(self) -> None:
        assert self._watch is not None, "only workers with a watch check Ollama"
        _tell_if_alive(self._watch, Check())
        self._loop.call_later(CHECK_EVERY, self._check_ollama)


def _tell_if_alive(recipient: Recipient, message: object) -> None:
    # A worker that stops has no use for late events; its actors are gone before its loop.
    with contextlib.suppress(pykka.ActorDeadError):
        recipient.tell(message)


def _agent() -> str:
    return f"compute-router-worker/{version('compute-router')} ({platform.system()} {platform.machine()})"
