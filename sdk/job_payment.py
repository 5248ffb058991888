"""What a job's answer says of its payment, without what could be spent."""

from __future__ import annotations

import msgspec

from compute_router.protocol.http_api import JobAnswer, PaymentAnswer
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import MicroUsd


class JobPayment(msgspec.Struct, frozen=True):
    """How a job's payment stands. ``amount`` is in micro-USD, ``network`` ``credit`` for a spent credit.

    ``transaction_ref`` names the settlement on its chain; None before there is one.
    """

    state: PaymentState
    amount: MicroUsd
    network: str
    transaction_ref: str | None = None


def payment_of(answer: JobAnswer) -> JobPayment | None:
    """The payment of a job; None if it is free."""
    payment = answer.payment
    if not isinstance(payment, PaymentAnswer):
        return None
    return JobPayment(payment.state, MicroUsd(payment.amount), payment.network, payment.transaction_ref)
