"""What an authorization moves, and who signed it, read from its own bytes."""

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
            PaymentRefusedError: no key of its payer signed it. Whether a contract did, its chain says.
        """


def malformed(error: msgspec.ValidationError) -> PaymentMalformedError:
    """The error for a payload whose fields are wrong."""
    return PaymentMalformedError(f"The payment's payload: {complaint(error)}")
