"""Looking at payments that were given up, once their authorizations have expired.

Whoever saw an authorization can carry it out until then, whatever the coordinator decided. So each void
payment is looked up on its chain after that, a few at a time, and when the chain cannot be read, again later.
Which ones are left is kept by the store alone.
"""

from __future__ import annotations

from collections.abc import Callable

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.payment_gate import AskVoid, OutcomeRead, VoidsDue
from compute_router.actors.messages.payment_steps import (
    LoadVoids,
    RecordPaymentConfirmed,
    RecordVoidLookedAt,
    VoidsLoaded,
)
from compute_router.actors.messages.timers import SetTimer
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.payments import NotSettled, Payment, Settled
from compute_router.protocol.units import DurationMs, UnixMs

_TIMER = "voids"


class VoidPayments:
    """Which void payments are being looked up. ``tell`` takes messages for other parts."""

    def __init__(self, policy: PaymentPolicy, tell: Callable[[Message], None]) -> None:
        self._policy = policy
        self._tell = tell
        self._asked: dict[str, Payment] = {}
        self._loading = False
        self._armed = False

    def begin(self) -> None:
        """Find out what an earlier run left."""
        self._load()

    def expect_one(self) -> None:
        """A payment became void: see to it some time."""
        if not self._loading and not self._asked and not self._armed:
            self._arm(self._policy.max_nap)

    def due(self) -> None:
        """The timer is over."""
        self._armed = False
        if not self._loading and not self._asked:
            self._load()

    def loaded(self, event: VoidsLoaded, now: UnixMs) -> None:
        """Those whose time has come: ask the chain about each."""
        self._loading = False
        for payment in event.payments:
            self._asked[payment.payment_id] = payment
            self._tell(AskVoid(payment))
        if not event.payments and event.next_look is not None:
            self._arm(DurationMs(max(self._policy.retry_backoff, event.next_look - now)))

    def answered(self, event: OutcomeRead, now: UnixMs) -> bool:
        """What the chain shows; False: it was not asked about this one here."""
        payment = self._asked.pop(event.payment_id, None)
        if payment is None:
            return False
        match event.outcome:
            case Settled(transaction_ref):
                self._tell(RecordPaymentConfirmed(payment.payment_id, transaction_ref))
            case NotSettled():
                self._tell(RecordVoidLookedAt(payment.payment_id, None))
            case _:
                # The longer it has been expired, the less often it is worth another look.
                wait = min(
                    max(now - payment.expires_at, self._policy.max_backoff), self._policy.max_look_pause
                )
                self._tell(RecordVoidLookedAt(payment.payment_id, UnixMs(now + wait)))
        if not self._asked:
            # The store carries out one after the other, so it has noted by then what was looked at.
            self._load()
        return True

    def _load(self) -> None:
        self._loading = True
        self._tell(LoadVoids(self._policy.looks_at_once))

    def _arm(self, delay: DurationMs) -> None:
        self._armed = True
        self._tell(SetTimer(_TIMER, DurationMs(min(delay, self._policy.max_nap)), VoidsDue()))
