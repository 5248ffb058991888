"""What is known of one payment that is still to be decided."""

from __future__ import annotations

from enum import Enum
from typing import Final

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import PAYERS_DOING, Payment, Refused, Settled
from compute_router.storage.interface import JobView

# A payment only moves on, so of two reports the one that is further on is the newer.
_PROGRESS: Final = {
    PaymentState.RESERVED: 0,
    PaymentState.SETTLING: 1,
    PaymentState.UNKNOWN: 2,
    PaymentState.VOID: 3,
    PaymentState.SETTLED: 4,
    PaymentState.CREDITED: 5,
}


class Busy(Enum):
    """Who must answer before anything else can be decided about a payment."""

    STORE = "store"
    FACILITATOR = "facilitator"
    CHAIN = "chain"


class OpenPayment:
    """A payment that is not at its end, or whose job is not.

    ``ended`` is how its job ended, None while it has not. ``said`` is the facilitator's answer while the
    chain is asked about it, and ``named`` the transaction that it named last. ``refusal`` is why it was
    refused in time, if that was the payer's doing. ``view`` is kept only of a job without a result, which may
    be told before its payment is decided; ``told`` says that it was.
    """

    __slots__ = (
        "armed",
        "busy",
        "ended",
        "named",
        "payment",
        "refusal",
        "resting",
        "said",
        "told",
        "tries",
        "view",
    )

    def __init__(self, payment: Payment, ended: JobStatus | None) -> None:
        self.payment = payment
        self.ended = ended
        self.busy: Busy | None = None
        self.said: Settled | Refused | None = None
        self.named: str | None = None
        # An earlier run may have written it down.
        self.refusal = payment.reason if payment.reason in PAYERS_DOING else None
        self.view: JobView | None = None
        self.told = False
        self.resting = False
        self.armed = False
        self.tries = 0

    @property
    def completed(self) -> bool:
        """Whether there is a result to be paid for."""
        return self.ended is JobStatus.COMPLETED

    @property
    def failed(self) -> bool:
        """Whether there never will be a result."""
        return self.ended is not None and not self.completed


def is_newer(news: PaymentState, known: PaymentState) -> bool:
    """Whether a report about a payment is further on than what is known of it."""
    return _PROGRESS[news] > _PROGRESS[known]
