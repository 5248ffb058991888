"""The numbers by which jobs are matched and given up."""

from __future__ import annotations

import pytest

from compute_router.actors.policy import MatchingPolicy, preferred_providers
from compute_router.protocol.jobs import JobType, ProviderType, Tier


def test_the_numbers_that_clients_rely_on_are_those_of_the_first_coordinator() -> None:
    policy = MatchingPolicy()
    assert policy.queue_window == 30_000
    assert policy.sweep_interval == 2_000
    assert policy.heartbeat_timeout == 30_000
    assert policy.max_failures == 3


def test_the_lease_of_a_task_ends_before_clients_stop_asking() -> None:
    assert MatchingPolicy().lease(JobType.TASK, None) == 20_000


@pytest.mark.parametrize(
    ("max_tokens", "lease"),
    [(1, 60_050), (100, 65_000), (1_200, 120_000), (None, 120_000), (10_800, 600_000), (1_000_000, 600_000)],
)
def test_the_lease_of_an_inference_grows_with_what_it_may_write_up_to_a_limit(
    max_tokens: int | None, lease: int
) -> None:
    assert MatchingPolicy().lease(JobType.LLM_INFER, max_tokens) == lease


def test_the_wait_before_a_retry_doubles() -> None:
    policy = MatchingPolicy()
    assert [policy.backoff(attempt) for attempt in (1, 2, 3)] == [500, 1_000, 2_000]
    assert policy.backoff(5) == policy.backoff(1_000_000) == policy.max_backoff


def test_every_tier_and_type_has_both_kinds_of_machine_in_its_order() -> None:
    for tier in Tier:
        for job_type in JobType:
            assert set(preferred_providers(tier, job_type)) == set(ProviderType)
