"""The real coordinator in a process of its own that kills itself, or loses its disk, where a plan says so.

``python -m tests.fakes.chaos_coordinator PLAN FLAGS...``: the plan is JSON, the flags are the coordinator's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final
from unittest import mock

import msgspec

import run_coordinator
from compute_router.actors import system as wiring
from compute_router.actors.job_store import Answer
from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.errors import StorageUnavailableError
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import Store
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.fakes.chaos_payments import hurried_payments
from tests.fakes.chaos_store import Place, faulty, point_name

HURRIED: Final = partial(
    MatchingPolicy,
    task_lease=DurationMs(1_500),
    llm_lease=DurationMs(1_500),
    max_lease=DurationMs(2_000),
    reconnect_grace=DurationMs(500),
    restart_grace=DurationMs(700),
    settle_delay=DurationMs(20),
    busy_pause=DurationMs(50),
    heartbeat_timeout=DurationMs(12_000),
    retry_backoff=DurationMs(20),
    max_backoff=DurationMs(200),
    sweep_interval=DurationMs(200),
)
"""The real rules with short times, because here they pass in truth."""


class Plan(msgspec.Struct, frozen=True):
    """When to die: at the ``countdown``-th passing of a place by a transaction with this call.

    The disk fails for ``ill_commits`` transactions in a row, after ``well_commits`` that went well.
    ``port`` is a point of the talks with facilitator and chain, passed ``countdown`` times before, too.
    """

    place: Place | None = None
    call: str | None = None
    countdown: int = 0
    well_commits: int = 0
    ill_commits: int = 0
    port: str | None = None

    @property
    def name(self) -> str:
        """How reports name the point."""
        if self.port is not None or self.place is None:
            return self.port or "nowhere"
        return point_name(self.place, self.call)


class Doom:
    """Carries a plan out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._countdown = plan.countdown
        self._commits = 0
        self._calls: frozenset[str] = frozenset()

    def at(self, place: Place, calls: frozenset[str]) -> None:
        if place is Place.AFTER_COMMIT:
            self._calls = calls
        if place is self._plan.place and self._plan.call in (None, *calls):
            self._countdown -= 1
            if self._countdown < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        if place is Place.BEFORE_COMMIT:
            self._commits += 1
            first_ill = self._plan.well_commits + 1
            if first_ill <= self._commits < first_ill + self._plan.ill_commits:
                raise StorageUnavailableError("injected: the disk is full")

    def before(self, call: str) -> None:
        """Calls go well here; transactions fail as a whole."""

    def before_answers(self, answers: Sequence[Answer]) -> None:
        """The answers of a commit are about to be delivered."""
        self.at(Place.BEFORE_ANSWERS, self._calls)
        for answer in answers:
            answer.deliver()


def main(arguments: Sequence[str]) -> int:
    """Run the coordinator with the plan; returns its exit code, if it lives to have one."""
    plan = msgspec.json.decode(arguments[0], type=Plan)
    doom = Doom(plan)
    paid = "--payments" in arguments

    def open_store(path: Path, network: str) -> Store:
        return faulty(open_sqlite_store(path, network=network), doom, lambda changes: None)

    with (
        hurried_payments(plan.port, plan.countdown) if paid else nullcontext(),
        mock.patch.object(run_coordinator, "open_sqlite_store", open_store),
        mock.patch.object(run_coordinator, "MatchingPolicy", HURRIED),
        # The only place between a commit and what follows from it.
        mock.patch.object(wiring, "_deliver_all", doom.before_answers),
    ):
        return run_coordinator.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
