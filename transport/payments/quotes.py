"""Signed quotes at the edge: given with every quote, honoured at the commit until they expire."""

from __future__ import annotations

from typing import Final

from nacl.signing import SigningKey

from compute_router.actors.clock import Clock
from compute_router.protocol.errors import PaymentMalformedError, QuoteRefusedError
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.payment_offer import QUOTE_HEADER
from compute_router.protocol.pricing import price
from compute_router.protocol.signed_quotes import PaidAt, quote_ends, read_quote, sign_quote
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.transport.http_types import Request

QUOTE_LIVES: Final = DurationMs(300_000)


class Quotes:
    """Gives the coordinator's word for a price, and keeps it."""

    def __init__(self, key: SigningKey, where: PaidAt, clock: Clock) -> None:
        self._key = key
        self._where = where
        self._clock = clock

    def __repr__(self) -> str:
        """Nothing of the key."""
        return f"Quotes({self._where.network})"

    def give(self, tier: Tier, job_type: JobType) -> tuple[str, UnixMs]:
        """A signed quote for a job, and when it expires."""
        expires_at = UnixMs(self._clock.unix_ms() + QUOTE_LIVES)
        amount = price(tier, job_type)
        return sign_quote(self._key, self._where, tier, job_type, amount, expires_at), expires_at

    @staticmethod
    def listed(tier: Tier, job_type: JobType) -> MicroUsd:
        """What a job costs without a quote."""
        return price(tier, job_type)

    def price(self, request: Request, tier: Tier, job_type: JobType) -> MicroUsd:
        """What a job costs: what the quote says that came with the request, or else the price list.

        Raises:
            PaymentMalformedError: several quotes came.
            QuoteRefusedError: the quote is not this coordinator's, or for another job or money elsewhere, or
                has expired.
        """
        if QUOTE_HEADER not in request.headers:
            return price(tier, job_type)
        given = request.headers.get_list(QUOTE_HEADER)
        if len(given) > 1:
            raise PaymentMalformedError(f"Send one {QUOTE_HEADER}.")
        quote = read_quote(self._key.verify_key, given[0], self._where)
        if (quote.tier, quote.job_type) != (tier, job_type):
            raise QuoteRefusedError("This quote is for another kind of job.")
        if quote_ends(quote) <= self._clock.unix_ms():
            raise QuoteRefusedError("This quote has expired; ask for another.")
        return quote.amount
