"""What is asked for one job: the price that holds for its request, and the offer that says so."""

from __future__ import annotations

from compute_router.protocol.errors import QuoteRefusedError
from compute_router.protocol.units import MicroUsd
from compute_router.storage.interface import NewJob
from compute_router.transport.http_types import Request
from compute_router.transport.payments.edge_facilitator import EdgeFacilitator
from compute_router.transport.payments.offers import Offered, Offers, resource_url
from compute_router.transport.payments.quotes import Quotes


class JobOffers:
    """Prices jobs by their quotes, or else by the list, and makes an offer of the price."""

    def __init__(self, offers: Offers, quotes: Quotes, facilitator: EdgeFacilitator) -> None:
        self._offers = offers
        self._quotes = quotes
        self._facilitator = facilitator

    async def amount(self, request: Request, job: NewJob) -> MicroUsd:
        """What a job costs.

        Raises:
            PaymentMalformedError: several quotes came.
            QuoteRefusedError: the quote does not hold; the error has today's offer.
            PaymentsUnavailableError: the facilitator does not say who pays its fees.
        """
        try:
            return self._quotes.price(request, job.tier, job.job_type)
        except QuoteRefusedError as error:
            today = self._quotes.listed(job.tier, job.job_type)
            error.offer = (await self._offer(request, today)).offer
            raise

    async def offered(self, request: Request, job: NewJob) -> Offered:
        """The offer of what a job costs; raises as :meth:`amount` does."""
        return await self._offer(request, await self.amount(request, job))

    async def _offer(self, request: Request, amount: MicroUsd) -> Offered:
        url = resource_url(request.headers.get("Host"), request.path)
        return self._offers.offered(amount, url, await self._facilitator.fee_payer())
