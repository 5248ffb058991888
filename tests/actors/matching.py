"""A market in a test's hands: the matching core, a store that answers when told to, timers, and time."""

from __future__ import annotations

from collections import Counter, deque

import msgspec

from compute_router.actors.admission import Refusal
from compute_router.actors.clock import SteadyMs
from compute_router.actors.matcher_core import MatcherCore
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import Chunk, Progress, PublishJob
from compute_router.actors.messages.job_store import (
    AssignmentRecorded,
    CompletionRecorded,
    JobEnded,
    LoadUnfinished,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
    RecordRequeued,
    RecordStarted,
)
from compute_router.actors.messages.matcher import (
    Cancel,
    JobTimer,
    LeasesRenewed,
    SlotFreed,
    Submit,
    TrustGranted,
    TrustRevoked,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.messages.stored_trust import (
    AuditJudged,
    DropAudits,
    InsertAudit,
    LoadTrackRecords,
    WorkerRecordLoaded,
)
from compute_router.actors.messages.timers import CancelTimer, SetTimer
from compute_router.actors.messages.worker_registry import BarKey, Deliver
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.store_requests import handle
from compute_router.protocol.job_state import FINAL, JobEvent, JobStatus, advance
from compute_router.protocol.jobs import JobType, PrivacyClass, ProviderType
from compute_router.protocol.messages import (
    SEALED_V1,
    ErrorFrame,
    Frame,
    HeldJob,
    JobAck,
    JobAssign,
    JobCancel,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
)
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import JobView, NewJob
from tests.actors.invariants import check_admission, check_core
from tests.fakes.clock import FakeClock
from tests.storage.memory_store import MemoryStore, Tables

_STEPS = {RecordStarted: JobEvent.START, RecordRequeued: JobEvent.REQUEUE, RecordFailed: JobEvent.FAIL}
_LATE_END = b'{"error":"no_trusted_worker","message":"-"}'


class Matching:
    """Feeds events to a :class:`MatcherCore` and plays everybody that it tells something.

    After every event the invariants are checked, and each request to the store must be a step of the
    job's state table. With ``prompt_store`` the store answers at once; without it, when the test calls
    :meth:`store_answers`. While ``outage`` is set, the store takes no job in and answers nothing.
    ``records_loaded`` is how many track records a restart reads.
    """

    def __init__(self, policy: MatchingPolicy | None = None, *, prompt_store: bool = True) -> None:
        self.policy = policy or MatchingPolicy()
        self.core = MatcherCore(self.policy)
        self.clock = FakeClock()
        self.store = MemoryStore(Tables())
        self.prompt_store = prompt_store
        self.records_loaded = 100
        self.store_queue: deque[Message] = deque()
        self.outage = False
        self.reserved: Counter[str] = Counter()
        self.idle: bool | None = None
        self.timers: dict[str, tuple[SteadyMs, Message]] = {}
        self.overtaken: list[Message] = []
        self.steps: list[Progress | Chunk] = []
        self.frames: list[tuple[int, Frame]] = []
        self.published: list[JobView] = []
        self.path: dict[str, tuple[JobStatus, int]] = {}
        self.durable: set[tuple[str, int | None]] = set()
        self.trusted: dict[str, set[str]] = {}
        self.recipients: dict[str, tuple[str, ...] | None] = {}
        self.workers: dict[int, WorkerOnline] = {}
        self.audits: dict[str, str] = {}
        self.barred: list[str] = []

    @property
    def now(self) -> SteadyMs:
        return self.clock.steady_ms()

    # Seekers

    def submit(self, *jobs: NewJob) -> bool:
        """Reserve, store and submit jobs, and end those that are refused; whether the last was taken in."""
        taken = False
        for job in jobs:
            assert self.reserve(job.user_id) is None
            taken = self.commit(job)
        return taken

    def reserve(self, user: str) -> Refusal | None:
        """Take a place for a job, to be used with :meth:`commit` or given back."""
        refusal = self.core.reserve(user)
        self.reserved[user] += refusal is None
        self._settle()
        return refusal

    def give_back(self, user: str) -> None:
        """Give a reserved place back."""
        self.reserved[user] -= 1
        self.core.give_back(user)
        self._settle()

    def commit(self, job: NewJob) -> bool:
        """Store and submit a job that has its place, as one committed now; whether it was taken in."""
        assert not self.outage
        now = self.clock.unix_ms()
        deadline = UnixMs(now + job.queue_window)
        job = msgspec.structs.replace(job, created_at=now, queue_deadline=deadline)
        with self.store.transaction():
            self.store.insert_job(job)
        self.recipients[job.job_id] = job.recipients
        self.reserved[job.user_id] -= 1
        taken = self.core.submit(Submit(job, tuple(sorted(self.trusted.get(job.user_id, ())))), self.now)
        if taken:
            self.path[job.job_id] = (JobStatus.PENDING, 0)
        else:
            with self.store.transaction():
                self.store.fail_job(job.job_id, 0, _LATE_END, self.clock.unix_ms())
        self._settle()
        return taken

    def cancel(self, job_id: str = "job") -> bool:
        """The owner wants the job no more; whether it was unfinished."""
        unfinished = self.core.cancel(Cancel(job_id), self.now)
        self._settle()
        return unfinished

    def start_drain(self) -> None:
        """The coordinator is about to stop; ``idle`` says whether any worker still holds a job."""
        self.idle = False

        def on_idle() -> None:
            assert self.idle is False, "idle was told twice"
            self.idle = True

        self.core.start_drain(on_idle)
        self._settle()

    def grant_trust(self, user: str, pubkey: str) -> None:
        """A user pairs with a worker key."""
        code = f"{user}/{pubkey}"
        if pubkey not in self.trusted.setdefault(user, set()):
            with self.store.transaction():
                now = self.clock.unix_ms()
                self.store.create_pairing(user, code, now, type(now)(now + 1000))
                self.store.claim_pairing(code, pubkey, now)
        self.trusted[user].add(pubkey)
        self.core.trust_granted(TrustGranted(user, pubkey), self.now)
        self._settle()

    def revoke_trust(self, user: str, pubkey: str) -> None:
        """A user no longer trusts a worker key."""
        self.trusted.get(user, set()).discard(pubkey)
        with self.store.transaction():
            self.store.revoke_pairing(user, pubkey)
        self.core.trust_revoked(TrustRevoked(user, pubkey), self.now)
        self._settle()

    # Workers

    def online(
        self,
        worker_id: int,
        pubkey: str,
        kind: ProviderType = ProviderType.DESKTOP,
        *,
        can: tuple[JobType, ...] = (JobType.LLM_INFER, JobType.TASK),
        models: tuple[str, ...] = (),
        slots: int = 1,
        proven: bool = True,
        held: tuple[tuple[str, int], ...] = (),
        settled: bool = True,
        instance: str | None = None,
        features: tuple[str, ...] = (),
    ) -> None:
        """A worker registers; one that is not proven is also settled at once, unless told otherwise."""
        event = WorkerOnline(
            worker_id,
            pubkey,
            kind,
            frozenset(can),
            models,
            slots,
            proven,
            tuple(HeldJob(job_id, attempt) for job_id, attempt in held),
            instance,
            frozenset(features),
        )
        self.workers[worker_id] = event
        self.core.worker_online(event, self.now)
        self._settle()
        if settled and not proven:
            self.settle(worker_id)

    def settle(self, worker_id: int) -> None:
        """The first moments after a worker's registration are over."""
        self.core.worker_settled(WorkerSettled(worker_id), self.now)
        self._settle()

    def offline(self, worker_id: int) -> None:
        """A worker's connection is lost."""
        self.workers.pop(worker_id, None)
        self.core.worker_offline(worker_id, self.now)
        self._settle()

    def drains(self, worker_id: int) -> None:
        """A worker wants no more jobs."""
        self.core.worker_draining(worker_id)
        self._settle()

    def place_audits(self) -> None:
        """Have idle workers repeat what waits to be audited, as each sweep does."""
        self.core.place_audits(self.now)
        self._settle()

    def flush_records(self) -> None:
        """Have the store keep the track records that changed."""
        records = self.core.changed_records(self.clock.unix_ms())
        with self.store.transaction():
            for record in records:
                self.store.put_worker_record(record)

    def beats(self, worker_id: int, *working_on: tuple[str, int]) -> None:
        """A worker sends a heartbeat that names attempts."""
        held = tuple(HeldJob(job_id, attempt) for job_id, attempt in working_on)
        self.core.leases_renewed(LeasesRenewed(worker_id, held), self.now)
        self._settle()

    def says(
        self, worker_id: int, frame: JobStarted | JobChunk | JobComplete | JobFailed | JobReject
    ) -> None:
        """A registered worker sends a frame."""
        worker = self.workers[worker_id]
        self.core.worker_said(WorkerSaid(worker_id, worker.pubkey, worker.proven, frame), self.now)
        self._settle()

    # The store

    def store_answers(self, count: int | None = None) -> None:
        """Have the store carry out its next requests, or all of them, and answer each."""
        while self.store_queue and count != 0 and not self.outage:
            count = None if count is None else count - 1
            self._answer(self.store_queue.popleft())
            self._carry_out()
        self.check()

    def restart(self, *, outage: int = 0) -> None:
        """The coordinator is killed and started again: what the store was not yet told is lost.

        ``outage`` is how many milliseconds lie between the two.
        """
        with self.store.transaction():
            self.store.note_alive(self.clock.unix_ms())
        self.clock.advance(outage)
        self.core = MatcherCore(self.policy)
        self.store_queue.clear()
        self.timers.clear()
        self.workers.clear()
        self.reserved.clear()
        self.idle = None
        with self.store.transaction():
            handle(self.store, self.clock, DropAudits())
            loaded = handle(self.store, self.clock, LoadTrackRecords(self.records_loaded))
        self.core.load_records(loaded.records, all_of_them=loaded.all_of_them)
        self.barred = list(loaded.barred)
        recover = handle(self.store, self.clock, LoadUnfinished())
        for job_id in list(self.path):
            view = self.store.job_view(job_id)
            if view is None:
                assert job_id in self.audits, "a job that was acknowledged is lost"
                del self.path[job_id], self.audits[job_id]
                continue
            self.path[job_id] = (view.status, self.path[job_id][1])
        for job, _ in recover.jobs:
            self.path[job.job_id] = (job.status, job.attempt)
        self.core.recover(recover, self.now)
        self._settle()

    # Time

    def advance(self, ms: int) -> None:
        """Let time pass; every timer goes off when it is due."""
        end = self.now + ms
        while True:
            due = min(self.timers.items(), key=lambda item: item[1][0], default=None)
            if due is None or due[1][0] > end:
                break
            key, (at, message) = due
            self.clock.advance(at - self.now)
            del self.timers[key]
            self._go_off(message)
        self.clock.advance(end - self.now)

    def late_timer(self, which: int) -> None:
        """A timer that was replaced or cancelled had gone off just before, and its message comes now."""
        self._go_off(self.overtaken[which])

    def _go_off(self, message: Message) -> None:
        match message:
            case JobTimer():
                self.core.job_timer(message, self.now)
            case SlotFreed():
                self.core.slot_freed(message, self.now)
            case WorkerSettled():
                self.core.worker_settled(message, self.now)
            case _:
                raise AssertionError(f"nobody sets a timer for {message}")
        self._settle()

    # What happened

    def given_to(self, worker_id: int) -> list[str]:
        """Ids of the jobs that a worker was assigned, in order."""
        return [f.job_id for to, f in self.frames if to == worker_id and isinstance(f, JobAssign)]

    def assignments(self) -> list[tuple[str, int]]:
        """Every assignment that went out, as job id and worker id."""
        return [(frame.job_id, to) for to, frame in self.frames if isinstance(frame, JobAssign)]

    def acks(self, worker_id: int) -> list[tuple[str, str]]:
        """Job id and status of every ack that a worker got."""
        return [(f.job_id, f.status) for to, f in self.frames if to == worker_id and isinstance(f, JobAck)]

    def cancels(self, worker_id: int) -> list[tuple[str, int]]:
        """Job id and attempt of everything that a worker was told to stop."""
        return [
            (f.job_id, f.attempt) for to, f in self.frames if to == worker_id and isinstance(f, JobCancel)
        ]

    def errors(self, worker_id: int) -> list[str]:
        """Codes of the error frames that a worker got."""
        return [f.code for to, f in self.frames if to == worker_id and isinstance(f, ErrorFrame)]

    def status(self, job_id: str = "job") -> JobStatus:
        """Where a job stands in the store."""
        view = self.store.job_view(job_id)
        assert view is not None
        return view.status

    def failure(self, job_id: str = "job") -> dict[str, str]:
        """The result of a job that failed."""
        view = self.store.job_view(job_id)
        assert view is not None
        assert view.status is JobStatus.FAILED
        assert view.result is not None
        return msgspec.json.decode(view.result, type=dict[str, str])

    def tried(self, job_id: str = "job") -> tuple[str, ...]:
        """The keys that the store holds to have tried an unfinished job."""
        (job,) = [job for job in self.store.unfinished_jobs() if job.job_id == job_id]
        return job.tried_pubkeys

    def check(self) -> None:
        """Check everything that must be true between two events."""
        messages = {key: timer for key, (_, timer) in self.timers.items()}
        check_core(self.core, messages, self.store_queue)
        check_admission(self.core, self.reserved)
        for job in self.core.jobs:
            if job.worker_id is not None:
                assert self.timers[job.job_id][0] <= max(job.run_ends, self.now), (
                    f"{job.job_id} runs too long"
                )
        held = any(job.status is not JobStatus.PENDING for job in self.core.jobs)
        assert self.idle is None or self.idle or held, "nobody was told that no worker holds a job"
        live = {job.job_id for job in self.core.jobs}
        for job_id, (status, _) in self.path.items():
            unfinished = job_id in live
            assert (status not in FINAL) == unfinished, f"{job_id} is lost, or undead"
            assert self.core.is_live(job_id) == unfinished
            if not self.store_queue:
                assert self.status(job_id) is status, f"{job_id} is {status} here and not in the store"

    def _settle(self) -> None:
        self._carry_out()
        self.check()
        if self.prompt_store:
            self.store_answers()

    def _carry_out(self) -> None:
        for message in self.core.drain():
            match message:
                case SetTimer(key, delay, timer):
                    self._overtake_timer(key)
                    self.timers[key] = (SteadyMs(self.now + delay), timer)
                case CancelTimer(key):
                    self._overtake_timer(key)
                case Deliver(worker_id, frame):
                    self._deliver(worker_id, frame)
                case Progress() | Chunk():
                    self.steps.append(message)
                case PublishJob(view):
                    assert view.status in FINAL
                    assert all(view.job_id != earlier.job_id for earlier in self.published)
                    self.published.append(view)
                case BarKey(pubkey):
                    # The registry closes its connections, and says so.
                    self.barred.append(pubkey)
                    for worker in [w for w in self.workers.values() if w.pubkey == pubkey]:
                        del self.workers[worker.worker_id]
                        self.core.worker_offline(worker.worker_id, self.now)
                case _:
                    self._follow(message)
                    self.store_queue.append(message)

    def _overtake_timer(self, key: str) -> None:
        timer = self.timers.pop(key, None)
        if timer is not None:
            self.overtaken.append(timer[1])

    def _deliver(self, worker_id: int, frame: Frame) -> None:
        self.frames.append((worker_id, frame))
        if not isinstance(frame, JobAssign):
            return
        attempt = (frame.job_id, frame.attempt)
        assert attempt in self.durable, f"{attempt} went out before it was durable, or twice"
        self.durable.remove(attempt)
        if frame.privacy_class is PrivacyClass.PRIVATE:
            worker = self.workers[worker_id]
            assert worker.pubkey in self.trusted[frame.user_id], "a stranger got it"
            assert worker.proven or self.policy.legacy_workers, "somebody got it who only names a key"
            recipients = self.recipients[frame.job_id]
            if recipients is not None:
                assert worker.pubkey in recipients, "somebody got it who cannot open it"
                assert worker.proven, "somebody got it who only names a key"
                assert SEALED_V1 in worker.features, "somebody got it who does not know how to open it"

    def _follow(self, message: Message) -> None:
        """Hold a request to the state table: the right step, and the right attempt."""
        match message:
            case InsertAudit(job_id, audit_of):
                assert self.path[audit_of][0] is JobStatus.COMPLETED
                self.path[job_id] = (JobStatus.PENDING, 0)
                self.audits[job_id] = audit_of
            case RecordAssigned(job_id, attempt):
                status, before = self.path[job_id]
                assert attempt == before + 1
                self.path[job_id] = (advance(status, JobEvent.CLAIM), attempt)
            case (
                RecordStarted(job_id, attempt)
                | RecordRequeued(job_id, attempt)
                | RecordFailed(job_id, attempt)
            ):
                status, before = self.path[job_id]
                assert attempt == before
                self.path[job_id] = (advance(status, _STEPS[type(message)]), attempt)
            case RecordCancelled(job_id):
                status, before = self.path[job_id]
                self.path[job_id] = (advance(status, JobEvent.CANCEL), before)
            case RecordCompletion(attempt=attempt, frame=frame):
                status, before = self.path[frame.job_id]
                assert attempt == before
                advance(status, JobEvent.COMPLETE)

    def _answer(self, request: Message) -> None:
        with self.store.transaction():
            answer = handle(self.store, self.clock, request)
        match answer:
            case AssignmentRecorded():
                assert answer.payload is not None, "the store had the job in another state"
                self.durable.add((answer.job_id, answer.attempt))
                self.core.assignment_recorded(answer, self.now)
            case CompletionRecorded():
                assert (answer.view is None) == (answer.reason is not None), "a completion was too late"
                if answer.view is not None:
                    status, attempt = self.path[answer.job_id]
                    self.path[answer.job_id] = (advance(status, JobEvent.COMPLETE), attempt)
                self.core.completion_recorded(answer, self.now)
            case JobEnded():
                assert answer.view is not None, "the store had ended the job before"
                self.core.job_ended(answer, self.now)
            case AuditJudged():
                self.core.audit_judged(answer, self.now)
            case WorkerRecordLoaded():
                self.core.record_loaded(answer, self.now)
            case Deliver(worker_id, frame):
                self._deliver(worker_id, frame)
            case _:
                assert answer is None
