"""How much longer a payment can land: what its payer signed may be old already."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from compute_router.actors.clock import Clock
from compute_router.protocol.errors import PaymentExpiredError
from compute_router.protocol.payments import NewPayment
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.transport.payments.offers import Offered

if TYPE_CHECKING:
    from compute_router.transport.payments.blockhash_ages import KnowsAge

logger = logging.getLogger(__name__)

_READ_SECONDS: Final = 3.0
_SHORTEST_LIFE: Final = DurationMs(10_000)
"""So that there is time to settle it."""


class RemainingLife:
    """Ends payments when they really end. Without ``ages`` they say that themselves."""

    def __init__(self, ages: KnowsAge | None, clock: Clock) -> None:
        self._ages = ages
        self._clock = clock

    async def apply(self, payment: NewPayment, authorized: bytes, offered: Offered) -> NewPayment:
        """The payment, with the end that its age leaves it. ``authorized`` is what was signed, as JSON.

        Raises:
            PaymentExpiredError: too little is left to settle it.
        """
        if self._ages is None:
            return payment
        try:
            async with asyncio.timeout(_READ_SECONDS):
                lives = await self._ages.lives(authorized)
        except Exception as error:
            # As with a balance: the job can be taken, and whoever signed it long ago is in debt.
            logger.warning("the age of a payment could not be read: %s", type(error).__name__)
            return payment
        if lives is None:
            return payment
        if lives < _SHORTEST_LIFE:
            raise PaymentExpiredError(
                "The transaction can land for a few seconds only; sign one with a new blockhash.",
                offered.offer,
            )
        expires_at = min(payment.expires_at, UnixMs(self._clock.unix_ms() + lives))
        return msgspec.structs.replace(payment, expires_at=expires_at)
