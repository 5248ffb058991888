"""A store that fails, or dies, where a plan says so, and remembers what was committed.

The places are the same for both layers of the fault injection: in the simulation a death is the exception
:class:`Killed`, in a real process it is SIGKILL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, Protocol, cast

import msgspec

from compute_router.protocol.payment_state import PaymentEvent
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.storage.interface import Store


class Place(Enum):
    """Where in a transaction something can happen."""

    BEFORE_BEGIN = "before_begin"
    AFTER_BEGIN = "after_begin"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    BEFORE_ANSWERS = "before_answers"


def point_name(place: Place, call: str | None) -> str:
    """How reports name a point."""
    return place.value if call is None else f"{place.value}:{call}"


CHANGES: Final = (
    "insert_job",
    "assign_job",
    "start_job",
    "requeue_job",
    "complete_job",
    "put_receipt",
    "fail_job",
    "cancel_job",
)
"""Calls that change a job: a point is named by a place and one of these that the transaction made."""


MONEY_CHANGES: Final = (
    "reserve_payment",
    "move_payment",
    "put_credit",
    "spend_credit",
    "post",
    "put_payout",
    "move_payout",
)
"""Calls that change a payment, a payout or what follows from them."""

MONEY_STEPS: Final = (
    *(f"move_payment {event.value}" for event in PaymentEvent),
    *(f"move_payout {event.value}" for event in PayoutEvent),
)
"""Steps of payments and payouts, by which a point can be named, too."""


class Killed(BaseException):
    """The coordinator's process is gone. Not an Exception, so that nothing handles it."""


class Change(msgspec.Struct, frozen=True):
    """One committed call that changed something."""

    call: str
    arguments: tuple[Any, ...]
    answer: Any


class FaultPlan(Protocol):
    """Decides at each place; it may raise, or kill."""

    def at(self, place: Place, calls: frozenset[str]) -> None:
        """A transaction that made these calls has come to a place."""

    def before(self, call: str) -> None:
        """A call is about to be made."""


class FaultyStore:
    """Stands before a real store; see :func:`faulty`."""

    def __init__(self, inner: Store, plan: FaultPlan, committed: Callable[[list[Change]], None]) -> None:
        self._inner = inner
        self._plan = plan
        self._committed = committed
        self._changes: list[Change] = []
        self._calls: set[str] = set()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._changes, self._calls = [], set()
        self._plan.at(Place.BEFORE_BEGIN, frozenset())
        with self._inner.transaction():
            self._plan.at(Place.AFTER_BEGIN, frozenset())
            yield
            self._plan.at(Place.BEFORE_COMMIT, frozenset(self._calls))
        self._committed(self._changes)
        self._plan.at(Place.AFTER_COMMIT, frozenset(self._calls))

    def close(self) -> None:
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        def planned(*arguments: Any, **named: Any) -> Any:
            self._plan.before(name)
            answer = call(*arguments, **named)
            self._calls.add(name)
            if name in ("move_payment", "move_payout"):
                self._calls.add(f"{name} {arguments[1].value}")
            if name in CHANGES or name in MONEY_CHANGES:
                self._changes.append(Change(name, (*arguments, *named.values()), answer))
            return answer

        return planned


def faulty(inner: Store, plan: FaultPlan, committed: Callable[[list[Change]], None]) -> Store:
    """A store whose calls and transactions go through a plan; ``committed`` hears what became durable."""
    return cast("Store", FaultyStore(inner, plan, committed))
