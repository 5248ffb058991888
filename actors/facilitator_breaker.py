"""A circuit breaker for the facilitator: while it does not answer, it is asked how it is and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.payment_gate import AskHealth, ProbeDue
from compute_router.actors.messages.timers import SetTimer
from compute_router.actors.payment_policy import PaymentPolicy

_PROBE: Final = "facilitator"


class FacilitatorBreaker:
    """Opens after some settlements in a row without an answer, and closes with the first one that comes.

    Payments that meet it open wait in it. Each event that may close it returns those to be woken, sorted, so
    that a history of events always has one outcome. ``tell`` takes messages for other parts.
    """

    def __init__(self, policy: PaymentPolicy, tell: Callable[[Message], None]) -> None:
        self._policy = policy
        self._tell = tell
        self._silences = 0
        self._probes = 0
        self._waiting: set[str] = set()
        self.is_open = False

    def wait(self, payment_id: str) -> None:
        """Have a payment woken when the breaker closes."""
        self._waiting.add(payment_id)

    def forget(self, payment_id: str) -> None:
        """A payment needs the facilitator no more."""
        self._waiting.discard(payment_id)

    def answered(self) -> list[str]:
        """The facilitator said something about a settlement."""
        self._silences = 0
        return self._close()

    def was_silent(self) -> None:
        """A settlement was asked for, and there was no answer."""
        self._silences += 1
        if not self.is_open and self._silences >= self._policy.failures_until_down:
            self.is_open = True
            self._probes = 0
            self._probe_later()

    def probed(self, problem: str | None) -> list[str]:
        """How the facilitator is, after it was down; None is well."""
        if not self.is_open:
            return []
        if problem is None:
            return self._close()
        self._probe_later()
        return []

    def probe_due(self) -> None:
        """See whether the facilitator is back."""
        if self.is_open:
            self._tell(AskHealth())

    def _close(self) -> list[str]:
        if not self.is_open:
            return []
        self.is_open = False
        self._silences = 0
        waiting, self._waiting = self._waiting, set()
        return sorted(waiting)

    def _probe_later(self) -> None:
        self._tell(SetTimer(_PROBE, self._policy.backoff(self._probes), ProbeDue()))
        self._probes += 1
