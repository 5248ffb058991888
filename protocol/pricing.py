"""The price list: every pair of tier and job type has a price, so pricing cannot fail or guess."""

from __future__ import annotations

from typing import Final

from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.units import MicroUsd

_PRICES: Final = {
    (Tier.FAST, JobType.LLM_INFER): MicroUsd(10_000),
    (Tier.FAST, JobType.TASK): MicroUsd(3_000),
    (Tier.CHEAP, JobType.LLM_INFER): MicroUsd(5_000),
    (Tier.CHEAP, JobType.TASK): MicroUsd(1_000),
}


def price(tier: Tier, job_type: JobType) -> MicroUsd:
    """Price of one job in millionths of a US dollar. Total: defined for every tier and job type."""
    return _PRICES[tier, job_type]
