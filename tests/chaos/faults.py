"""The faults of one run inside the store: where it dies, and when the disk fails."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from compute_router.protocol.errors import StorageUnavailableError
from tests.chaos.journal import Journal
from tests.fakes.chaos_store import CHANGES, MONEY_CHANGES, MONEY_STEPS, Killed, Place, point_name

Point = tuple[Place, str | None]

POINTS: Final[tuple[Point, ...]] = (
    (Place.BEFORE_BEGIN, None),
    (Place.AFTER_BEGIN, None),
    *((place, call) for call in CHANGES for place in (Place.BEFORE_COMMIT, Place.AFTER_COMMIT)),
    *((Place.BEFORE_ANSWERS, call) for call in CHANGES),
)
"""Every named commit point; a call stands for the transactions that make it."""


MONEY_POINTS: Final[tuple[Point, ...]] = tuple(
    (place, call)
    for call in (*MONEY_CHANGES, *MONEY_STEPS)
    for place in (Place.BEFORE_COMMIT, Place.AFTER_COMMIT, Place.BEFORE_ANSWERS)
)
"""The points of transactions that are about payments and payouts."""


class StoreFaults:
    """Kills at an armed point when its countdown is over; fails calls and commits while the disk is ill."""

    def __init__(self, rng: random.Random, journal: Journal) -> None:
        self._rng = rng
        self._journal = journal
        self._armed: tuple[Place, str | None] | None = None
        self._countdown = 0
        self._doomed_call: str | None = None
        self._failing: Callable[[], bool] = lambda: False
        self.ill = False
        self.calls_of_last_commit: frozenset[str] = frozenset()

    def arm(self, place: Place, call: str | None, countdown: int) -> None:
        """Die when a point has been passed so many times."""
        self._armed, self._countdown = (place, call), countdown

    def doom(self, call: str) -> None:
        """The disk fails for a moment, at the next call of this name."""
        self._doomed_call = call

    def fall_ill(self, until_nth: int) -> None:
        """From the n-th call or commit on, the disk fails, nearly always."""
        self.ill = True
        left = until_nth

        def failing() -> bool:
            nonlocal left
            left -= 1
            return left < 0 and self._rng.random() < 0.8

        self._failing = failing

    def heal(self) -> None:
        """The disk works again."""
        self.ill = False
        self._failing = lambda: False

    def calm(self) -> None:
        """No more faults."""
        self.heal()
        self._armed = self._doomed_call = None

    def at(self, place: Place, calls: frozenset[str]) -> None:
        if place is Place.AFTER_COMMIT:
            self.calls_of_last_commit = calls
        if self._armed is not None and self._armed[0] is place and self._armed[1] in (None, *calls):
            self._countdown -= 1
            if self._countdown < 0:
                name = point_name(*self._armed)
                self._armed = None
                self._journal.fault(f"kill {name}")
                raise Killed(name)
        if place in (Place.BEFORE_BEGIN, Place.BEFORE_COMMIT) and self._failing():
            self._journal.fault("storage error", place.value)
            raise StorageUnavailableError(f"injected at {place.value}")

    def before(self, call: str) -> None:
        if call == self._doomed_call or self._failing():
            self._doomed_call = None
            self._journal.fault("storage error", call)
            raise StorageUnavailableError(f"injected in {call}")
