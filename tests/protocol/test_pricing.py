from __future__ import annotations

import itertools

import pytest

from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.pricing import price
from compute_router.protocol.units import format_usd


@pytest.mark.parametrize(
    ("tier", "job_type", "text"),
    [
        (Tier.FAST, JobType.LLM_INFER, "$0.010"),
        (Tier.FAST, JobType.TASK, "$0.003"),
        (Tier.CHEAP, JobType.LLM_INFER, "$0.005"),
        (Tier.CHEAP, JobType.TASK, "$0.001"),
    ],
)
def test_the_price_list_is_the_published_one(tier: Tier, job_type: JobType, text: str) -> None:
    assert format_usd(price(tier, job_type)) == text


def test_every_pair_of_tier_and_job_type_has_a_price_above_zero() -> None:
    assert all(price(tier, job_type) > 0 for tier, job_type in itertools.product(Tier, JobType))


def test_fast_costs_more_than_cheap_for_every_job_type() -> None:
    assert all(price(Tier.FAST, job_type) > price(Tier.CHEAP, job_type) for job_type in JobType)
