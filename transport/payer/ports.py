"""What paying out needs from the outside: the coordinator's book, and a purse on a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.payments import NotSettled, Refused, Settled, StillOpen
from compute_router.protocol.payout_api import OpenPayout, PayoutPlan, PayoutStepRequest
from compute_router.protocol.units import MicroUsd


class PurseError(ComputeRouterError):
    """The purse cannot pay now: too little money, no fees, another chain, or a node that refuses."""

    code = "purse_unusable"


class Prepared(msgspec.Struct, frozen=True):
    """A signed transfer. Nobody but the caller has it yet."""

    transaction_data: str
    transaction_ref: str

    def __repr__(self) -> str:
        """Without the transaction: whoever has it can send it."""
        return f"Prepared({self.transaction_ref!r})"


class Book(Protocol):
    """The coordinator's record of payouts. Any exception means that nobody knows whether a step was taken."""

    async def plan(self, threshold: MicroUsd, limit: int) -> PayoutPlan:
        """Who would be paid now, and what is open."""

    async def record(self, threshold: MicroUsd, limit: int) -> None:
        """Record a payout for each worker that would be paid now."""

    async def step(self, payout_id: str, taken: PayoutStepRequest) -> bool:
        """Take a step of a payout, durably. False: it is not where the step begins.

        ``taken.replaces``: the transaction that must still be recorded, as that of another may be by now.
        """


class Purse(Protocol):
    """One key on one chain, which pays workers and the fees of it. Any exception: nothing is known."""

    @property
    def address(self) -> str:
        """Who pays."""

    async def check(self) -> None:
        """Is the node one of the right chain, and is there something to pay fees with?

        Raises:
            PurseError: no.
        """

    async def funds(self) -> MicroUsd:
        """What the purse holds."""

    async def prepare(self, payout: OpenPayout, opened: Sequence[OpenPayout]) -> Prepared | Refused:
        """Sign the transfer of a payout and send it to nobody. ``opened`` are all that may still move money.

        ``Refused``: the chain would not carry it out.
        """

    async def send(self, transaction_data: str) -> None:
        """Send a signed transfer; again is harmless. No exception does not mean that it will land."""

    async def renew(self, payout: OpenPayout, opened: Sequence[OpenPayout]) -> Prepared | None:
        """Sign another transaction for a transfer whose recorded one failed for good, and send it to nobody.

        None: the recorded one may still land, or nothing but waiting helps. However many of the two land, the
        chain carries the transfer out once at the most.
        """

    async def outcome(self, payout: OpenPayout) -> Settled | NotSettled | StillOpen:
        """What became of a signed transfer, for good. ``NotSettled`` only when it can never land any more."""
