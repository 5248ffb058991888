"""``/.well-known/x402``: what is sold here and for how much, for programs that look around."""

from __future__ import annotations

import msgspec

from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.pricing import price
from compute_router.transport.http_types import Answer, json_answer
from compute_router.transport.payments.offers import Offers, resource_url


class Sold(msgspec.Struct, frozen=True, rename="camel"):
    """One kind of job on one endpoint. ``accepts`` are x402 v2 requirements."""

    resource: str
    type: str
    method: str
    x402_version: int
    tier: Tier
    job_type: JobType
    accepts: msgspec.Raw


class Discovery(msgspec.Struct, frozen=True, rename="camel"):
    """The whole document."""

    x402_version: int
    network: str
    pay_to: str
    resources: list[Sold]


def discovery_answer(offers: Offers, host: str | None, fee_payer: str | None) -> Answer:
    """The document, with addresses as the client wrote them."""
    sold = []
    for tier in Tier:
        url = resource_url(host, f"/v1/jobs/commit/{tier.value.lower()}")
        for job_type in JobType:
            accepts = offers.offered(price(tier, job_type), url, fee_payer).offer.accepts
            sold.append(Sold(url, "http", "POST", 2, tier, job_type, msgspec.Raw(accepts)))
    return json_answer(Discovery(2, offers.network, offers.pay_to, sold))
