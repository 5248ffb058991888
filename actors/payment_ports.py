"""What the PaymentGate needs from the outside world; ``transport.payments`` provides it, tests fake it."""

from __future__ import annotations

from typing import Protocol

from compute_router.protocol.payments import (
    NotSettled,
    Payment,
    Refused,
    Settled,
    StillOpen,
    Unknown,
    Verified,
)
from compute_router.protocol.units import MicroUsd


class Facilitator(Protocol):
    """Checks payment authorizations and has them carried out on their chain (x402 v2)."""

    async def verify(self, payload: bytes, requirements: bytes) -> Verified | Refused:
        """Whether an authorization could be settled now.

        Raises:
            UnavailableError: the facilitator cannot be asked.
        """

    async def settle(self, payment: Payment) -> Settled | Refused | Unknown:
        """Move the money. Any failure after which the money may have moved is ``Unknown``."""

    async def healthy(self) -> str | None:
        """None, or what is wrong, in a sentence."""


class ChainReader(Protocol):
    """Reads a chain; changes nothing. Any exception means that it could not be read."""

    async def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What became of an authorization, whoever settled it.

        ``payment.transaction_ref`` is the transaction that the facilitator named, if it did. It is where to
        look first, and proves nothing.
        """

    async def balance(self, payer: str) -> MicroUsd:
        """What a payer has of the asset that is paid with."""
