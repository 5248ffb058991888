"""The Matcher's picture of the present: unfinished jobs, and workers that are connected."""

from __future__ import annotations

from collections.abc import Iterator

from compute_router.actors.clock import SteadyMs
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, ProviderType, Tier
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import NewJob, UnfinishedJob

Demand = tuple[JobType, str | None]
"""What a job asks of a worker: a job type, and a model or None for any."""


class LiveJob:
    """An unfinished job: what it asks for, and how far it got.

    ``worker_id`` names the connection that holds the lease; None while nobody does, or while the worker
    that holds it (``worker_pubkey``) is away. ``sent`` says that the assignment went out to the worker, and
    ``finishing`` that its result is being stored: then nothing but the store's answer moves the job.
    ``cancel_wanted`` says that the owner asked for its end meanwhile, and ``recovered`` that an earlier run
    of the coordinator made the assignment. ``attempt`` counts assignments, ``failures`` those that ended for
    a reason that counts. ``window_left`` is what was left of the wait when the newest attempt began.
    """

    __slots__ = (
        "attempt", "cancel_wanted", "demand", "failures", "finishing", "followed", "job_id", "last_detail",
        "last_failure", "lease", "lease_ends", "privacy_class", "queue_window", "recovered", "run_ends",
        "run_limit", "sent", "status", "tier", "tried", "trusted", "user_id", "waiting", "waiting_since",
        "window_ends", "window_left", "worker_id", "worker_instance", "worker_pubkey",
    )  # fmt: skip

    def __init__(
        self, job: NewJob | UnfinishedJob, now: SteadyMs, trusted: tuple[str, ...], run_limit: DurationMs
    ) -> None:
        self.job_id = job.job_id
        self.demand: Demand = (job.job_type, job.model)
        self.tier: Tier = job.tier
        self.privacy_class: PrivacyClass = job.privacy_class
        self.user_id = job.user_id
        self.trusted: frozenset[str] = frozenset(trusted)
        self.status = JobStatus.PENDING
        self.attempt = 0
        self.failures = 0
        self.queue_window = job.queue_window
        self.lease = job.lease
        self.run_limit = run_limit if job.run_limit is None else min(job.run_limit, run_limit)
        self.lease_ends = now
        self.run_ends = now
        self.tried: tuple[str, ...] = ()
        self.last_failure: Failure | None = None
        self.last_detail: str | None = None
        self.waiting = False
        self.waiting_since = now
        self.window_ends = SteadyMs(now + job.queue_window)
        self.window_left = job.queue_window
        self.worker_id: int | None = None
        self.worker_pubkey: str | None = None
        self.worker_instance: str | None = None
        self.recovered = False
        self.sent = False
        self.finishing = False
        self.cancel_wanted = False
        self.followed = False

    @property
    def job_type(self) -> JobType:
        return self.demand[0]

    @property
    def private(self) -> bool:
        return self.privacy_class is PrivacyClass.PRIVATE


class LiveWorker:
    """A registered connection. One key may hold several; each is an entry of its own."""

    __slots__ = (
        "busy", "demands", "draining", "idle_since", "instance", "job_types", "models", "proven",
        "provider_type", "pubkey", "settled", "slots", "worker_id",
    )  # fmt: skip

    def __init__(
        self,
        worker_id: int,
        pubkey: str,
        provider_type: ProviderType,
        job_types: frozenset[JobType],
        models: tuple[str, ...],
        slots: int,
        *,
        proven: bool,
        instance: str | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.instance = instance
        self.pubkey = pubkey
        self.provider_type = provider_type
        self.job_types = job_types
        self.models = models
        self.slots = slots
        self.proven = proven
        self.settled = proven
        self.draining = False
        self.busy: set[str] = set()
        self.idle_since = 0
        self.demands: tuple[Demand, ...] = tuple(self._demands())

    def _demands(self) -> Iterator[Demand]:
        if JobType.TASK in self.job_types:
            yield (JobType.TASK, None)
        if JobType.LLM_INFER in self.job_types:
            yield (JobType.LLM_INFER, None)
            for model in self.models:
                yield (JobType.LLM_INFER, model)

    @property
    def free(self) -> bool:
        """Whether it may be given a job now."""
        return self.settled and not self.draining and len(self.busy) < self.slots

    def can_run(self, job: LiveJob) -> bool:
        """Whether it is the right kind of worker for a job, free or not."""
        return job.demand in self.demands and (not job.private or self.pubkey in job.trusted)
