"""The life of a payout as one table: which event may move it from which state to which."""

from __future__ import annotations

from enum import Enum
from typing import Final


class PayoutState(Enum):
    """Where a payout stands. ``SENT``: its signed transaction is stored, and may be on its way."""

    RECORDED = "recorded"
    SENT = "sent"
    UNKNOWN = "unknown"
    SETTLED = "settled"
    REFUSED = "refused"


class PayoutEvent(Enum):
    """What can happen to a payout. ``SEND_ANEW``: another transaction takes the place of one that failed."""

    SEND = "send"
    SEND_ANEW = "send_anew"
    SETTLE = "settle"
    LOSE_TRACK = "lose_track"
    REFUSE = "refuse"


STORES_TRANSACTION: Final = (PayoutEvent.SEND, PayoutEvent.SEND_ANEW)
"""What comes with a signed transaction, which is durable before anything is sent."""

PAYOUT_TRANSITIONS: Final = {
    (PayoutState.RECORDED, PayoutEvent.SEND): PayoutState.SENT,
    (PayoutState.RECORDED, PayoutEvent.REFUSE): PayoutState.REFUSED,
    (PayoutState.SENT, PayoutEvent.SEND_ANEW): PayoutState.SENT,
    (PayoutState.SENT, PayoutEvent.SETTLE): PayoutState.SETTLED,
    (PayoutState.SENT, PayoutEvent.LOSE_TRACK): PayoutState.UNKNOWN,
    (PayoutState.SENT, PayoutEvent.REFUSE): PayoutState.REFUSED,
    (PayoutState.UNKNOWN, PayoutEvent.SEND_ANEW): PayoutState.SENT,
    (PayoutState.UNKNOWN, PayoutEvent.SETTLE): PayoutState.SETTLED,
    (PayoutState.UNKNOWN, PayoutEvent.REFUSE): PayoutState.REFUSED,
}

OPEN_PAYOUTS: Final = (PayoutState.RECORDED, PayoutState.SENT, PayoutState.UNKNOWN)
"""States in which money may still move. What was refused is owed again, and may be paid out anew."""


def payout_sources(event: PayoutEvent) -> tuple[PayoutState, ...]:
    """States from which an event may happen, in table order: the old states an UPDATE must name."""
    return tuple(state for state, possible in PAYOUT_TRANSITIONS if possible is event)


def payout_target(event: PayoutEvent) -> PayoutState:
    """The one state that an event leads to."""
    (target,) = {new for (_, possible), new in PAYOUT_TRANSITIONS.items() if possible is event}
    return target
