"""What happened in one run: events, faults by kind, and broken promises."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from tests.chaos.money_promises import MoneyPromise

_TAIL: Final = 60


class Violation(AssertionError):  # noqa: N818 - read as a noun in every report
    """A promise of the coordinator was broken."""


class Journal:
    """The log of one seed. Only its tail is kept, the counts are of everything.

    ``looks`` counts how often each promise about money was checked, ``deals`` what was done with money.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ms: Callable[[], int] = lambda: 0
        self.faults: Counter[str] = Counter()
        self.looks: Counter[str] = Counter()
        self.deals: Counter[str] = Counter()
        self.jobs = 0
        self.completions = 0
        self.script: list[str] = []
        self.broken: Violation | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL)

    def note(self, event: str) -> None:
        """Something happened."""
        self._tail.append(f"{self.now_ms():>8} ms  {event}")

    def fault(self, kind: str, detail: str = "") -> None:
        """A fault was injected."""
        self.faults[kind] += 1
        self.script.append(f"{self.now_ms():>8} ms  {kind} {detail}".rstrip())
        self.note(f"FAULT {kind} {detail}".rstrip())

    def promise(self, kept: bool, text: str) -> None:
        """Check one promise.

        Raises:
            Violation: it was broken.
        """
        if not kept:
            self.note(f"VIOLATION {text}")
            self.broken = self.broken or Violation(text)
            raise self.broken

    def money(self, promise: MoneyPromise, kept: bool, detail: str) -> None:
        """Check one promise about money; reports count how often each was looked at.

        Raises:
            Violation: it was broken.
        """
        self.looks[promise.name] += 1
        self.promise(kept, f"{promise.value} But {detail}")

    def raise_broken(self) -> None:
        """Raise what was broken inside an actor, which may have kept the exception to itself."""
        if self.broken is not None:
            raise self.broken

    def story(self, layer: str) -> str:
        """Everything needed to understand and repeat a failure."""
        return "\n".join(
            [
                f"seed {self.seed} of {layer} broke a promise; run it alone: make chaos SEED={self.seed}",
                "faults injected:",
                *(f"  {line}" for line in self.script),
                "last events:",
                *(f"  {line}" for line in self._tail),
            ]
        )
