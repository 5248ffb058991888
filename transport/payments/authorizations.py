"""What an authorization moves, read from its own bytes. Its signature is for the facilitator to check."""

from __future__ import annotations

from typing import Protocol

import msgspec

from compute_router.protocol.errors import PaymentMalformedError
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.transport.complaints import complaint
from compute_router.transport.payments.offers import Offered


class Authorization(msgspec.Struct, frozen=True):
    """One authorization that meets its requirement.

    ``payload`` has the fields that were checked, and no more.
    """

    payment_id: str
    payer: str
    expires_at: UnixMs
    payload: bytes


class ReadsAuthorizations(Protocol):
    """Knows the payments of one chain."""

    def read(self, payload: bytes, offered: Offered, amount: MicroUsd, now: UnixMs) -> Authorization:
        """Read an authorization and check that it moves what is offered, and now.

        Raises:
            PaymentMalformedError: it has not the form of one.
            PaymentMismatchError: it moves something else, or to somebody else.
            PaymentExpiredError: its time is over, or nearly.
            PaymentTooEarlyError: its time has not come.
        """


def malformed(error: msgspec.ValidationError) -> PaymentMalformedError:
    """The error for a payload whose fields are wrong."""
    return PaymentMalformedError(f"The payment's payload: {complaint(error)}")
