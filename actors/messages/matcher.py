"""What the Matcher is told and asked."""

from __future__ import annotations

from collections.abc import Callable

from compute_router.actors.messages.base import Message
from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import HeldJob, JobChunk, JobComplete, JobFailed, JobReject, JobStarted
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import NewJob, UnfinishedJob, WorkerRecord


class Submit(Message, frozen=True):
    """A job is stored and wants a worker. Ask or tell; the answer is whether it was taken in.

    ``trusted`` are the user's paired keys, for PRIVATE jobs. A job that is not taken in has no eligible
    trusted worker connected; whoever asked must then end it.
    """

    job: NewJob
    trusted: tuple[str, ...] = ()


class Reserve(Message, frozen=True):
    """Ask: is there room for one more job of this user? Answer: None, or the Refusal.

    ``at_once`` is how many unfinished jobs of the user the API key allows, or None.
    """

    user_id: str
    at_once: int | None = None


class CanServe(Message, frozen=True):
    """Ask: is a worker connected that may run this PRIVATE job? Answer: bool."""

    job: NewJob
    trusted: tuple[str, ...]


class GiveBack(Message, frozen=True):
    """A reserved place is not needed: the job was not stored, or was stored before."""

    user_id: str


class Cancel(Message, frozen=True):
    """Ask: end this job, its owner wants it no more. Answer: whether it was unfinished.

    If it was, its end will be published; a completion that came first wins. With ``user_id``, the jobs of
    others count as unknown.
    """

    job_id: str
    user_id: str | None = None


class StartDrain(Message, frozen=True):
    """Take no more jobs and give none out; call ``on_idle`` when no worker holds one."""

    on_idle: Callable[[], None]


class Recover(Message, frozen=True):
    """Jobs that a restart found unfinished, each with its user's trusted keys.

    ``alive_until`` is when the earlier run was last known to run; deadlines stood still from then on.
    """

    jobs: tuple[tuple[UnfinishedJob, tuple[str, ...]], ...]
    alive_until: UnixMs


class IsLive(Message, frozen=True):
    """Ask: is this job unfinished, and this user's if one is named? Answer: bool."""

    job_id: str
    user_id: str | None = None


class Follow(Message, frozen=True):
    """Ask: have every step of a job published from now on. Answer: its Progress, or None if it has ended.

    With ``user_id``, the jobs of others count as unknown.
    """

    job_id: str
    user_id: str | None = None


class WorkerOnline(Message, frozen=True):
    """A worker registered, or registered anew on the same socket with other abilities."""

    worker_id: int
    pubkey: str
    provider_type: ProviderType
    job_types: frozenset[JobType]
    models: tuple[str, ...]
    slots: int
    proven: bool
    held: tuple[HeldJob, ...]
    instance: str | None = None
    features: frozenset[str] = frozenset()


class WorkerSettled(Message, frozen=True):
    """A registered worker may be given jobs from now on."""

    worker_id: int


class WorkerOffline(Message, frozen=True):
    """A worker's connection is gone."""

    worker_id: int


class WorkerDraining(Message, frozen=True):
    """A worker wants no more jobs."""

    worker_id: int


class LeasesRenewed(Message, frozen=True):
    """A heartbeat named the attempts that its worker is working on."""

    worker_id: int
    jobs: tuple[HeldJob, ...]


class SlotFreed(Message, frozen=True):
    """A worker that does not know cancels has had long enough for a job that was taken from it."""

    worker_id: int
    job_id: str


class WorkerSaid(Message, frozen=True):
    """A registered worker said something about a job."""

    worker_id: int
    pubkey: str
    proven: bool
    frame: JobStarted | JobChunk | JobComplete | JobFailed | JobReject


class TrustGranted(Message, frozen=True):
    """A user paired with a worker key."""

    user_id: str
    pubkey: str


class TrustRevoked(Message, frozen=True):
    """A user no longer trusts a worker key."""

    user_id: str
    pubkey: str


class ListWorkers(Message, frozen=True):
    """Ask: up to ``limit`` connected workers whose connection comes after ``after``. Answer: WorkersPage."""

    after: int
    limit: int


class ConnectedWorker(Message, frozen=True):
    """What everybody may know of a connection; ``busy`` is how many of its slots hold a job."""

    pubkey: str
    provider_type: ProviderType
    job_types: frozenset[JobType]
    models: tuple[str, ...]
    slots: int
    busy: int
    proven: bool
    since: UnixMs


class WorkersPage(Message, frozen=True):
    """Some connected workers; ``last`` is what to ask on from, None when there are no more."""

    workers: tuple[ConnectedWorker, ...]
    last: int | None


class FindStanding(Message, frozen=True):
    """Ask: what is known of a worker key at the moment. Answer: :class:`WorkerStanding`."""

    pubkey: str


class WorkerStanding(Message, frozen=True):
    """Whether a key is connected and proven, and its record; None when only the store can know it."""

    connected: bool
    proven: bool
    record: WorkerRecord | None


class FlushRecords(Message, frozen=True):
    """Time to have the changed track records stored."""


class JobTimer(Message, frozen=True):
    """A deadline that was set for a job is over; it only counts if the job is still where it was."""

    job_id: str
    attempt: int
    waiting: bool


class Sweep(Message, frozen=True):
    """Look through the waiting jobs again."""
