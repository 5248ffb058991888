"""The Matcher's picture of the present: unfinished jobs, and workers that are connected."""

from __future__ import annotations

from collections.abc import Iterator

from compute_router.actors.audits import AuditCase
from compute_router.actors.clock import SteadyMs
from compute_router.actors.track_record import Band, TrackRecord
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, ProviderType, Tier
from compute_router.protocol.messages import SEALED_V1
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
    of the coordinator made the assignment. ``recipients`` are the keys that can open its payload, if it is
    sealed; ``trusted`` never goes beyond them. ``attempt`` counts assignments, ``failures`` those that
    ended for a reason that counts. ``window_left`` is what was left of the wait when the newest attempt
    began.
    ``request_hash`` is the SHA-256 hex of the payload, once this run of the coordinator sent it out.
    ``record`` is what the newest attempt counts in; None if its worker did not prove its key. ``answered_at``
    is when its result came in. ``tasks`` is the feature by which that worker's output can be compared with
    that of others. ``blamed`` are those who failed or refused the job: it counts if another shows that the
    job could be done. ``audit`` is set on jobs of our own, which repeat a seeker's.
    """

    __slots__ = (
        "answered_at", "attempt", "audit", "blamed", "cancel_wanted", "demand", "failures", "finishing",
        "followed", "job_id", "last_detail", "last_failure", "lease", "lease_ends", "privacy_class",
        "queue_window", "recipients", "record", "recovered", "request_hash", "run_ends", "run_limit",
        "sent", "status", "tasks", "tier", "tried", "trusted", "user_id", "waiting", "waiting_since",
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
        self.recipients = None if job.recipients is None else frozenset(job.recipients)
        self.trusted: frozenset[str] = frozenset(trusted)
        if self.recipients is not None:
            self.trusted &= self.recipients
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
        self.request_hash: str | None = None
        self.finishing = False
        self.cancel_wanted = False
        self.followed = False
        self.record: TrackRecord | None = None
        self.tasks: str | None = None
        self.blamed: tuple[tuple[TrackRecord, Failure], ...] = ()
        self.answered_at = now
        self.audit: AuditCase | None = None

    @property
    def job_type(self) -> JobType:
        return self.demand[0]

    @property
    def private(self) -> bool:
        return self.privacy_class is PrivacyClass.PRIVATE

    @property
    def sealed(self) -> bool:
        return self.recipients is not None

    def trust(self, pubkey: str) -> None:
        """Let a key have this PRIVATE job, unless it could not open it."""
        if self.recipients is None or pubkey in self.recipients:
            self.trusted |= {pubkey}

    def distrust(self, pubkey: str) -> None:
        """Keep this PRIVATE job from a key."""
        self.trusted -= {pubkey}


class LiveWorker:
    """A registered connection. One key may hold several; each is an entry of its own.

    ``vouched_for`` says that trust in its key holds for this connection: it proved the key, or the
    operator does without proofs. Sealed jobs go to ``proven`` connections only. ``since`` is when it
    first registered. ``record`` is that of its key if it proved it, and ``band`` where it stands among the
    idle: without a record, as a new key does.
    """

    __slots__ = (
        "band", "busy", "demands", "draining", "features", "idle_since", "instance", "job_types",
        "models", "proven", "provider_type", "pubkey", "record", "settled", "since", "slots",
        "vouched_for", "worker_id",
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
        features: frozenset[str] = frozenset(),
        vouched_for: bool | None = None,
        since: SteadyMs = SteadyMs(0),  # noqa: B008 - a number
    ) -> None:
        self.worker_id = worker_id
        self.instance = instance
        self.features = features
        self.vouched_for = proven if vouched_for is None else vouched_for
        self.since = since
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
        self.record: TrackRecord | None = None
        # Nobody can hold an unproven connection to what it did, so it does not stand before those who can be.
        self.band = Band.GOOD if proven else Band.FAIR
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
        return job.demand in self.demands and (not job.private or self._may_have(job))

    @property
    def seals(self) -> bool:
        """Whether it opens sealed payloads, and the key that they are sealed to is surely its own."""
        return self.proven and SEALED_V1 in self.features

    def _may_have(self, job: LiveJob) -> bool:
        return self.pubkey in job.trusted and (self.seals if job.sealed else self.vouched_for)
