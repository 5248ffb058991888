"""The numbers by which jobs are matched and given up, in one place, all in milliseconds."""

from __future__ import annotations

import msgspec

from compute_router.protocol.jobs import JobType, ProviderType, Tier
from compute_router.protocol.units import DurationMs


class MatchingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take, how often a job is tried, and how many jobs there may be.

    Attributes:
        queue_window: how long a job may wait for a worker, unless its seeker says otherwise;
            ``max_queue_window`` is the most that a seeker may say.
        sweep_interval: how often waiting jobs are looked through again, should an event have been missed.
        max_failures: how many attempts of a job may fail before it does.
        task_lease, llm_lease: how long a worker may hold a job without a sign of life; ``token_lease`` comes
            on top for each token that an inference may write, up to ``max_lease``.
        run_limit: how long a job may run at most, signs of life or not.
        reconnect_grace: how long a job stays with a worker of ours whose connection was lost.
        restart_grace: the least time that jobs keep when the coordinator restarts, for workers to come back.
        settle_delay: how long a worker that did not prove itself as ours gets no job after registering;
            such workers lose assignments that arrive together with the acknowledgement.
        busy_pause: how long a worker that had no room gets no job.
        heartbeat_timeout: silence after which a worker is gone.
        retry_backoff, max_backoff: wait before a failed job goes back to a worker that had it; it doubles
            with each attempt up to the maximum.
        ageing: how much longer a CHEAP job must have waited than a FAST one to go first.
        max_jobs_per_user, max_jobs: unfinished jobs at once.
        audit_share: the share of tasks with a sure output that is repeated by another worker, from 0 to 1.
        audit_window: how long a repetition may wait for an idle worker before it is given up.
        audit_newcomer_jobs: how many jobs a key must have completed before it is asked to judge others.
        max_open_audits: audits under way at once; while there are so many, none is begun.
        register_timeout: how long a new connection may take to register.
        max_workers: registered connections at once.
        max_registrations: how often one connection may register in a minute.
        legacy_workers: trust in a key holds for whoever names it, proof or not. Anybody who knows the key of
            a paired worker can then read that user's plain PRIVATE jobs.
        require_receipts: refuse results that come without a receipt.
    """

    queue_window: DurationMs = DurationMs(30_000)
    max_queue_window: DurationMs = DurationMs(3_600_000)
    sweep_interval: DurationMs = DurationMs(2_000)
    max_failures: int = 3
    task_lease: DurationMs = DurationMs(20_000)
    llm_lease: DurationMs = DurationMs(60_000)
    token_lease: DurationMs = DurationMs(50)
    max_lease: DurationMs = DurationMs(600_000)
    run_limit: DurationMs = DurationMs(3_600_000)
    reconnect_grace: DurationMs = DurationMs(5_000)
    restart_grace: DurationMs = DurationMs(10_000)
    settle_delay: DurationMs = DurationMs(250)
    busy_pause: DurationMs = DurationMs(1_000)
    heartbeat_timeout: DurationMs = DurationMs(30_000)
    retry_backoff: DurationMs = DurationMs(500)
    max_backoff: DurationMs = DurationMs(8_000)
    ageing: DurationMs = DurationMs(10_000)
    max_jobs_per_user: int = 1_000
    max_jobs: int = 200_000
    audit_share: float = 0.01
    audit_window: DurationMs = DurationMs(60_000)
    audit_newcomer_jobs: int = 10
    max_open_audits: int = 256
    register_timeout: DurationMs = DurationMs(10_000)
    max_workers: int = 50_000
    max_registrations: int = 30
    legacy_workers: bool = False
    require_receipts: bool = False

    def lease(self, job_type: JobType, max_tokens: int | None) -> DurationMs:
        """Length of the lease of a job; an inference of unknown length counts as one of 1,200 tokens."""
        if job_type is JobType.TASK:
            return self.task_lease
        tokens = _USUAL_TOKENS if max_tokens is None else max_tokens
        return DurationMs(min(self.llm_lease + tokens * self.token_lease, self.max_lease))

    def backoff(self, attempt: int) -> DurationMs:
        """Wait after attempt number ``attempt`` brought nothing."""
        return DurationMs(min(self.retry_backoff << min(attempt - 1, 16), self.max_backoff))


_USUAL_TOKENS = 1_200
_DESKTOP_FIRST = (ProviderType.DESKTOP, ProviderType.SEEKER)
_SEEKER_FIRST = (ProviderType.SEEKER, ProviderType.DESKTOP)


def preferred_providers(tier: Tier, job_type: JobType) -> tuple[ProviderType, ProviderType]:
    """Which kind of machine to look at first: phones for cheap tasks, desktops for all else."""
    if tier is Tier.CHEAP and job_type is JobType.TASK:
        return _SEEKER_FIRST
    return _DESKTOP_FIRST
