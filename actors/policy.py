"""The numbers by which jobs are matched and given up, in one place, all in milliseconds."""

from __future__ import annotations

import msgspec

from compute_router.protocol.jobs import JobType, ProviderType, Tier
from compute_router.protocol.units import DurationMs


class MatchingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take, and how often a job is tried.

    Attributes:
        queue_window: how long a job may wait for a worker before it fails.
        sweep_interval: how often waiting jobs are looked through again, should an event have been missed.
        max_attempts: how many workers may try a job before it fails.
        task_lease, llm_lease: how long a worker may hold a job of that type without delivering it.
        reconnect_grace: how long a job stays with a worker of ours whose connection was lost.
        restart_grace: the least time that workers have to come back after the coordinator restarted.
        settle_delay: how long a worker that did not prove itself as ours gets no job after registering;
            such workers lose assignments that arrive together with the acknowledgement.
        heartbeat_timeout: silence after which a worker is gone.
        retry_backoff: wait before a failed job goes back to a worker that failed it; doubles each attempt.
        ageing: how much longer a CHEAP job must have waited than a FAST one to go first.
    """

    queue_window: DurationMs = DurationMs(30_000)
    sweep_interval: DurationMs = DurationMs(2_000)
    max_attempts: int = 3
    task_lease: DurationMs = DurationMs(20_000)
    llm_lease: DurationMs = DurationMs(120_000)
    reconnect_grace: DurationMs = DurationMs(5_000)
    restart_grace: DurationMs = DurationMs(10_000)
    settle_delay: DurationMs = DurationMs(250)
    heartbeat_timeout: DurationMs = DurationMs(30_000)
    retry_backoff: DurationMs = DurationMs(500)
    ageing: DurationMs = DurationMs(10_000)

    def lease(self, job_type: JobType) -> DurationMs:
        """Length of the lease for a job type."""
        return self.llm_lease if job_type is JobType.LLM_INFER else self.task_lease

    def backoff(self, attempt: int) -> DurationMs:
        """Wait after attempt number ``attempt`` failed."""
        return DurationMs(self.retry_backoff << (attempt - 1))


_DESKTOP_FIRST = (ProviderType.DESKTOP, ProviderType.SEEKER)
_SEEKER_FIRST = (ProviderType.SEEKER, ProviderType.DESKTOP)


def preferred_providers(tier: Tier, job_type: JobType) -> tuple[ProviderType, ProviderType]:
    """Which kind of machine to look at first: phones for cheap tasks, desktops for all else."""
    if tier is Tier.CHEAP and job_type is JobType.TASK:
        return _SEEKER_FIRST
    return _DESKTOP_FIRST
