"""The numbers by which jobs are matched and given up."""

from __future__ import annotations

from compute_router.actors.policy import MatchingPolicy, preferred_providers
from compute_router.protocol.jobs import JobType, ProviderType, Tier


def test_the_numbers_that_clients_rely_on_are_those_of_the_first_coordinator() -> None:
    policy = MatchingPolicy()
    assert policy.queue_window == 30_000
    assert policy.sweep_interval == 2_000
    assert policy.heartbeat_timeout == 30_000
    assert policy.max_attempts == 3


def test_a_lease_ends_before_clients_stop_asking() -> None:
    policy = MatchingPolicy()
    assert policy.lease(JobType.TASK) < 30_000
    assert policy.lease(JobType.LLM_INFER) == policy.llm_lease


def test_the_wait_before_a_retry_doubles() -> None:
    policy = MatchingPolicy()
    assert [policy.backoff(attempt) for attempt in (1, 2, 3)] == [500, 1_000, 2_000]


def test_every_tier_and_type_has_both_kinds_of_machine_in_its_order() -> None:
    for tier in Tier:
        for job_type in JobType:
            assert set(preferred_providers(tier, job_type)) == set(ProviderType)
