"""The actor that deletes what is too old, a little at a time, so that nothing else has to wait for it."""

from __future__ import annotations

from typing import Any, Final

import pykka

from compute_router.actors.clock import Clock
from compute_router.actors.messages.janitor import CleanUp
from compute_router.actors.messages.job_store import Deleted, DeleteFinished, ForgetCodes, ForgetKeys
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.timers import ArmTimer, SetTimer
from compute_router.actors.runtime import LoopActor, OnDeath
from compute_router.protocol.units import DurationMs, UnixMs

BATCH: Final = 200
KEY_LIFETIME: Final = DurationMs(24 * 60 * 60 * 1000)
_TIMER: Final = "clean-up"
_NEXT_BATCH: Final = DurationMs(100)
_NEXT_ROUND: Final = DurationMs(10 * 60 * 1000)


class Janitor(LoopActor):
    """Forgets dead pairing codes, idempotency keys after a day and, if asked to, finished jobs after a time.

    Keys go before the jobs they stand for: if ``keep`` is less than a day, they are forgotten as early.
    Each round goes on in small batches until one finds less than it may delete.
    """

    def __init__(
        self,
        on_death: OnDeath,
        clock: Clock,
        store: pykka.ActorRef[Any],
        scheduler: pykka.ActorRef[Any],
        keep: DurationMs | None,
    ) -> None:
        super().__init__(on_death)
        self._clock = clock
        self._store = store
        self._scheduler = scheduler
        self._keep = keep
        self._keep_keys = KEY_LIFETIME if keep is None else min(KEY_LIFETIME, keep)
        self._full_batches = 0

    def on_start(self) -> None:
        self._come_again(_NEXT_BATCH)

    def on_receive(self, message: Any) -> None:
        match message:
            case CleanUp():
                now = self._clock.unix_ms()
                self._full_batches = 0
                # The round's last request, because its answer ends the round.
                last = DeleteFinished(UnixMs(0 if self._keep is None else now - self._keep), BATCH)
                for request in (
                    ForgetCodes(BATCH),
                    ForgetKeys(UnixMs(now - self._keep_keys), BATCH),
                    last,
                ):
                    self._store.tell(StoreRequest(request, self.actor_ref))
            case Deleted(by, count):
                self._full_batches += count == by.limit
                if isinstance(by, DeleteFinished):
                    self._come_again(_NEXT_BATCH if self._full_batches else _NEXT_ROUND)
            case _:
                raise TypeError(f"Janitor cannot handle {message!r}")

    def _come_again(self, delay: DurationMs) -> None:
        self._scheduler.tell(ArmTimer(SetTimer(_TIMER, delay, CleanUp()), self.actor_ref))
