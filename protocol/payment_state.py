"""The life of a payment as one table: which event may move it from which state to which."""

from __future__ import annotations

from enum import Enum
from typing import Final

from compute_router.protocol.errors import InvalidTransitionError


class PaymentState(Enum):
    """Where a payment stands. The values are what the database and job answers say.

    ``UNKNOWN``: a settlement was asked for and nobody knows what became of it; only the chain can tell.
    ``VOID``: no money is expected any more. Whoever saw the authorization can carry it out all the same until
    it has expired, so the chain is looked at once after that.
    """

    RESERVED = "reserved"
    SETTLING = "settling"
    UNKNOWN = "unknown"
    SETTLED = "settled"
    VOID = "void"
    CREDITED = "credited"


class PaymentEvent(Enum):
    """What can happen to a payment."""

    ASK = "ask"
    CONFIRM = "confirm"
    REFUSE = "refuse"
    LOSE_TRACK = "lose_track"
    RELEASE = "release"
    CREDIT = "credit"


PAYMENT_TRANSITIONS: Final = {
    (PaymentState.RESERVED, PaymentEvent.ASK): PaymentState.SETTLING,
    (PaymentState.RESERVED, PaymentEvent.RELEASE): PaymentState.VOID,
    (PaymentState.SETTLING, PaymentEvent.CONFIRM): PaymentState.SETTLED,
    (PaymentState.SETTLING, PaymentEvent.REFUSE): PaymentState.VOID,
    (PaymentState.SETTLING, PaymentEvent.LOSE_TRACK): PaymentState.UNKNOWN,
    # It was asked for again, and there is a better reason why nobody knows.
    (PaymentState.UNKNOWN, PaymentEvent.LOSE_TRACK): PaymentState.UNKNOWN,
    (PaymentState.UNKNOWN, PaymentEvent.CONFIRM): PaymentState.SETTLED,
    (PaymentState.UNKNOWN, PaymentEvent.REFUSE): PaymentState.VOID,
    # Somebody carried out what was given up.
    (PaymentState.VOID, PaymentEvent.CONFIRM): PaymentState.SETTLED,
    # The money came, and the job did not.
    (PaymentState.SETTLED, PaymentEvent.CREDIT): PaymentState.CREDITED,
}

OPEN_PAYMENTS: Final = frozenset({PaymentState.RESERVED, PaymentState.SETTLING, PaymentState.UNKNOWN})
"""States in which money is still expected."""


def advance_payment(state: PaymentState, event: PaymentEvent) -> PaymentState:
    """State after an event.

    Raises:
        InvalidTransitionError: the table has no such step.
    """
    try:
        return PAYMENT_TRANSITIONS[state, event]
    except KeyError:
        raise InvalidTransitionError(state.value, event.value) from None


def payment_sources(event: PaymentEvent) -> tuple[PaymentState, ...]:
    """States from which an event may happen, in table order: the old states an UPDATE must name."""
    return tuple(state for state, possible in PAYMENT_TRANSITIONS if possible is event)
