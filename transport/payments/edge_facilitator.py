"""A facilitator as the edge needs it: one that can be asked for payments now, and says who pays its fees."""

from __future__ import annotations

from typing import Protocol

from compute_router.actors.payment_ports import Facilitator


class EdgeFacilitator(Facilitator, Protocol):
    """A facilitator, and what the edge needs of it besides."""

    def check_available(self) -> None:
        """Whether it makes sense to ask for a payment now.

        Raises:
            PaymentsUnavailableError: it is down.
        """

    async def fee_payer(self) -> str | None:
        """The account that pays for transactions; None where none is named.

        Raises:
            PaymentsUnavailableError: the facilitator does not say.
        """
