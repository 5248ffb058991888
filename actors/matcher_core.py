"""The matching decisions, as a plain class: events in, messages for other actors out.

The core keeps three promises, which the property tests hold it to. A slot never holds two jobs, and a job
never two slots. After every event no waiting job has a free worker that could run it, unless the
coordinator drains. And every unfinished job has a timer or an answer of the store to come, so that none
can stay where it is for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec

from compute_router.actors.absent_holders import AbsentHolders
from compute_router.actors.admission import Admission, Refusal
from compute_router.actors.clock import SteadyMs
from compute_router.actors.connected_workers import ConnectedWorkers
from compute_router.actors.idle_workers import IdleWorkers
from compute_router.actors.live import LiveJob, LiveWorker
from compute_router.actors.messages import (
    AssignmentRecorded,
    Cancel,
    CancelTimer,
    Chunk,
    ClassifyLate,
    CompletionRecorded,
    Deliver,
    JobEnded,
    JobTimer,
    LeasesRenewed,
    Message,
    Progress,
    PublishJob,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
    RecordRequeued,
    RecordStarted,
    Recover,
    SetTimer,
    SlotFreed,
    Submit,
    TrustGranted,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.policy import MatchingPolicy, preferred_providers
from compute_router.actors.soft_failures import is_soft
from compute_router.actors.waiting_jobs import WaitingJobs
from compute_router.actors.worker_claims import Misnamed, WorkerReportedError, read_completion
from compute_router.protocol.failures import Failure, failed_result
from compute_router.protocol.job_state import JobEvent, JobStatus, advance
from compute_router.protocol.messages import (
    ErrorFrame,
    JobAck,
    JobAssign,
    JobCancel,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
)
from compute_router.protocol.units import DurationMs

logger = logging.getLogger(__name__)

_MAX_DETAIL_CHARS = 1000
_NOT_THE_WORKERS_FAULT = (Failure.WORKER_DISCONNECTED, Failure.LEASE_EXPIRED)


class MatcherCore:
    """Who runs what. Events pile up messages, in order; :meth:`drain` takes them out."""

    def __init__(self, policy: MatchingPolicy) -> None:
        self._policy = policy
        self._jobs: dict[str, LiveJob] = {}
        self._workers = ConnectedWorkers()
        self._idle = IdleWorkers()
        self._waiting = WaitingJobs(policy.ageing)
        self._absent = AbsentHolders()
        self._admission = Admission(policy)
        self._on_idle: Callable[[], None] | None = None
        self._out: list[Message] = []

    # What the actor and the tests ask

    def is_live(self, job_id: str) -> bool:
        """Whether a job is unfinished."""
        return job_id in self._jobs

    def __len__(self) -> int:
        """Number of unfinished jobs."""
        return len(self._jobs)

    @property
    def jobs(self) -> Iterable[LiveJob]:
        """All unfinished jobs."""
        return self._jobs.values()

    @property
    def workers(self) -> Iterable[LiveWorker]:
        """All registered connections."""
        return self._workers

    def follow(self, job_id: str) -> Progress | None:
        """Publish every step of a job from now on; None if it is not unfinished."""
        job = self._jobs.get(job_id)
        if job is None:
            return None
        job.followed = True
        return Progress(job_id, job.status, job.attempt)

    def drain(self) -> list[Message]:
        """Take the messages that have piled up since the last call."""
        out, self._out = self._out, []
        return out

    # Jobs come in

    def reserve(self, user_id: str) -> Refusal | None:
        """Take a place for a job that is about to be stored, or say why there is none."""
        return self._admission.reserve(user_id)

    def give_back(self, user_id: str) -> None:
        """Give back a place whose job was not stored."""
        self._admission.leave(user_id)

    def submit(self, event: Submit, now: SteadyMs) -> bool:
        """Take in a stored job that has its place; False when no trusted worker for it is connected."""
        job = LiveJob(event.job, now, event.trusted, self._policy.run_limit)
        if job.private and not self._workers.trusted_with(job):
            self._admission.leave(job.user_id)
            return False
        self._jobs[job.job_id] = job
        self._place(job, now)
        return True

    def recover(self, event: Recover, now: SteadyMs) -> None:
        """Take up what a restart found, with the time that each deadline had left when the last run ended.

        The restart grace is the least: workers need a moment to come back.
        """

        def remaining(deadline: int | None, whole: DurationMs) -> DurationMs:
            left = (deadline or 0) - event.alive_until
            return DurationMs(min(max(left, self._policy.restart_grace), whole))

        for record, trusted in event.jobs:
            job = LiveJob(record, now, trusted, self._policy.run_limit)
            job.window_ends = SteadyMs(now + remaining(record.queue_deadline, job.queue_window))
            job.attempt = record.attempt
            job.failures = record.failures
            job.tried = record.tried_pubkeys
            job.last_failure = record.last_failure
            self._jobs[job.job_id] = job
            self._admission.enter(job.user_id)
            if record.status is JobStatus.PENDING:
                self._place(job, now)
                continue
            job.status = record.status
            job.worker_pubkey = record.worker_pubkey
            job.sent = True
            job.run_ends = SteadyMs(now + job.run_limit)
            self._await_return(job, remaining(record.lease_deadline, job.lease))

    def trust_granted(self, event: TrustGranted, now: SteadyMs) -> None:
        """Let a newly paired worker have the user's PRIVATE jobs, and later attempts at those under way."""
        # All live jobs are looked through, because pairing is rare.
        for job in self._jobs.values():
            if not job.private or job.user_id != event.user_id:
                continue
            waiting = job.waiting
            if waiting:
                self._waiting.remove(job)
            job.trusted |= {event.pubkey}
            if waiting:
                self._waiting.add(job)
        for worker in self._workers.with_key(event.pubkey):
            self._feed(worker, now)

    # Jobs are wanted no more

    def cancel(self, event: Cancel, now: SteadyMs) -> bool:
        """End an unfinished job; False if there is none. A result that is being stored goes first."""
        job = self._jobs.get(event.job_id)
        if job is None:
            return False
        if job.finishing:
            job.cancel_wanted = True
        else:
            self._cancel(job, now)
        return True

    def _cancel(self, job: LiveJob, now: SteadyMs) -> None:
        if job.waiting:
            self._waiting.remove(job)
        job.status = advance(job.status, JobEvent.CANCEL)
        self._out.append(RecordCancelled(job.job_id))
        self._forget(job)
        self._call_off(job, now)

    def start_drain(self, on_idle: Callable[[], None]) -> None:
        """Take no more jobs and give none out; ``on_idle`` is called when no worker holds one."""
        self._admission.draining = True
        self._on_idle = on_idle
        self._tell_when_idle()

    # Workers come and go

    def worker_online(self, event: WorkerOnline, now: SteadyMs) -> None:
        """Register a connection, or renew one whose abilities changed; give back the jobs it still holds."""
        worker = LiveWorker(
            event.worker_id,
            event.pubkey,
            event.provider_type,
            event.job_types,
            event.models,
            event.slots,
            proven=event.proven,
        )
        previous = self._workers.get(event.worker_id)
        if previous is not None and previous.pubkey != event.pubkey:
            self.worker_offline(event.worker_id, now)
            previous = None
        if previous is not None:
            self._idle.discard(previous)
            worker.busy = previous.busy
            worker.settled = previous.settled or worker.settled
            worker.draining = previous.draining
        self._workers.add(worker)
        if worker.proven and previous is None:
            self._return_held(worker, {(held.job_id, held.attempt) for held in event.held}, now)
        self._feed(worker, now)

    def worker_settled(self, event: WorkerSettled, now: SteadyMs) -> None:
        """Begin, or begin again, to give jobs to a worker."""
        worker = self._workers.get(event.worker_id)
        if worker is not None:
            worker.settled = True
            self._feed(worker, now)

    def worker_draining(self, worker_id: int) -> None:
        """Give a worker no more jobs."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.draining = True
            self._idle.discard(worker)

    def worker_offline(self, worker_id: int, now: SteadyMs) -> None:
        """Forget a connection. Its jobs go back, or wait a moment for a worker of ours to return."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        self._idle.discard(worker)
        self._workers.remove(worker)
        for job in [self._jobs[job_id] for job_id in worker.busy if job_id in self._jobs]:
            job.worker_id = None
            if job.finishing:
                continue
            if worker.proven and job.sent:
                self._await_return(job, self._policy.reconnect_grace)
            else:
                self._end_attempt(job, Failure.WORKER_DISCONNECTED, now, keep_tried=job.sent)

    def leases_renewed(self, event: LeasesRenewed, now: SteadyMs) -> None:
        """A worker is alive and names what it works on."""
        for held in event.jobs:
            job = self._jobs.get(held.job_id)
            if job is not None and job.worker_id == event.worker_id and job.attempt == held.attempt:
                job.lease_ends = SteadyMs(now + job.lease)

    # Workers speak

    def worker_said(self, event: WorkerSaid, now: SteadyMs) -> None:
        """Act on what a worker said about a job, if the job is its own."""
        frame = event.frame
        job = self._jobs.get(frame.job_id)
        if job is None or not self._holds_lease(job, event) or frame.attempt not in (None, job.attempt):
            self._answer_late(event, now)
        elif isinstance(frame, JobComplete):
            self._completed(job, event, frame, now)
        elif isinstance(frame, JobStarted | JobChunk):
            self._started(job, now)
            if job.followed and isinstance(frame, JobChunk):
                self._out.append(Chunk(job.job_id, frame.attempt, frame.seq, frame.delta))
        elif isinstance(frame, JobReject):
            self._refused(job, frame, Failure.WORKER_REJECTED, frame.reason, now)
        else:
            self._refused(job, frame, Failure.WORKER_ERROR, f"{frame.code}: {frame.message}", now)

    def _started(self, job: LiveJob, now: SteadyMs) -> None:
        job.lease_ends = SteadyMs(now + job.lease)
        if job.status is JobStatus.ASSIGNED:
            job.status = advance(job.status, JobEvent.START)
            self._out.append(RecordStarted(job.job_id, job.attempt))
            self._tell_followers(job)

    def _refused(
        self, job: LiveJob, frame: JobReject | JobFailed, reason: Failure, detail: str, now: SteadyMs
    ) -> None:
        if is_soft(frame):
            self._pause(job)
            self._end_attempt(job, Failure.WORKER_BUSY, now, counts=False, detail=detail)
        else:
            retryable = isinstance(frame, JobReject) or frame.retryable
            self._end_attempt(job, reason, now, detail=detail, retryable=retryable)

    def _pause(self, job: LiveJob) -> None:
        """Leave a worker that had no room alone for a while, or each waiting job would be refused in turn."""
        worker = self._workers.get(job.worker_id)
        if worker is not None:
            worker.settled = False
            self._idle.discard(worker)
            key = f"settle:{worker.worker_id}"
            self._out.append(SetTimer(key, self._policy.busy_pause, WorkerSettled(worker.worker_id)))

    def _completed(self, job: LiveJob, event: WorkerSaid, frame: JobComplete, now: SteadyMs) -> None:
        claim = read_completion(frame, event.pubkey, proven=event.proven)
        if isinstance(claim, Misnamed):
            self._out.append(Deliver(event.worker_id, ErrorFrame("RECEIPT_MISMATCH", claim.message)))
            return
        if isinstance(claim, WorkerReportedError):
            self._end_attempt(job, Failure.WORKER_ERROR, now, detail=claim.message)
            return
        job.finishing = True
        self._absent.discard(job)
        self._out.append(RecordCompletion(event.worker_id, event.pubkey, job.attempt, frame))
        self._out.append(CancelTimer(job.job_id))
        # The worker has done its part, whatever the store will say: its slot is free from here on.
        self._release(job, now)

    def _answer_late(self, event: WorkerSaid, now: SteadyMs) -> None:
        frame = event.frame
        if isinstance(frame, JobComplete):
            self._out.append(ClassifyLate(event.worker_id, event.pubkey, frame.job_id, frame.attempt))
        else:
            self._out.append(Deliver(event.worker_id, JobAck(frame.job_id, "stale", attempt=frame.attempt)))
        if isinstance(frame, JobComplete | JobFailed | JobReject) and frame.job_id not in self._jobs:
            self.slot_freed(SlotFreed(event.worker_id, frame.job_id), now)

    def _holds_lease(self, job: LiveJob, event: WorkerSaid) -> bool:
        if job.finishing or not job.sent:
            return False
        if job.worker_id is not None:
            return job.worker_id == event.worker_id
        # The connection that held it is gone; the same key, proven, may still speak for it.
        return event.proven and job.worker_pubkey == event.pubkey

    # The store answers

    def assignment_recorded(self, event: AssignmentRecorded, now: SteadyMs) -> None:
        """Send the job out, now that its lease is durable."""
        job = self._jobs.get(event.job_id)
        if job is None or job.attempt != event.attempt or job.worker_id is None:
            return
        if event.payload is None:
            logger.error("job %s was not pending in the store; it is dropped here", job.job_id)
            self._forget(job)
            self._release(job, now)
            return
        job.sent = True
        self._tell_followers(job)
        job_type, model = job.demand
        self._out.append(
            Deliver(
                job.worker_id,
                JobAssign(
                    job_id=job.job_id,
                    job_type=job_type,
                    payload=msgspec.Raw(event.payload),
                    policy=job.tier,
                    privacy_class=job.privacy_class,
                    user_id=job.user_id,
                    attempt=job.attempt,
                    deadline_ms=job.lease,
                    model=model,
                ),
            )
        )

    def completion_recorded(self, event: CompletionRecorded, now: SteadyMs) -> None:
        """Tell the worker and whoever waits; a result that was not believed ends the attempt."""
        job = self._jobs.get(event.job_id)
        if event.view is not None:
            if job is not None:
                self._forget(job)
                self._tell_when_idle()
            self._out.append(PublishJob(event.view))
            status, reason = "accepted", None
        elif event.reason is not None:
            status, reason = "rejected", event.reason
        else:
            status, reason = "stale", None
        self._out.append(
            Deliver(event.worker_id, JobAck(event.job_id, status, attempt=event.attempt, reason=reason))
        )
        if event.view is None and job is not None:
            job.finishing = False
            if job.cancel_wanted:
                self._cancel(job, now)
            else:
                self._end_attempt(job, Failure.RECEIPT_INVALID, now, detail=event.reason)

    def job_ended(self, event: JobEnded, now: SteadyMs) -> None:
        """Tell whoever waits."""
        if event.view is not None:
            self._out.append(PublishJob(event.view))

    # Time passes

    def job_timer(self, event: JobTimer, now: SteadyMs) -> None:
        """A deadline of a job is over: its wait, its lease, its worker's return, or its backoff."""
        job = self._jobs.get(event.job_id)
        if job is None or job.finishing or job.attempt != event.attempt:
            return
        if job.status is JobStatus.PENDING:
            if event.waiting != job.waiting:
                return
            if not job.waiting:
                self._place(job, now, first=True)
            else:
                self._waiting.remove(job)
                self._fail(job, job.last_failure or self._nobody_came(job))
        elif not event.waiting:
            self._held_too_long(job, now)

    def _held_too_long(self, job: LiveJob, now: SteadyMs) -> None:
        if job.worker_id is None:
            self._end_attempt(job, Failure.WORKER_DISCONNECTED, now)
        elif now >= job.run_ends:
            self._fail(job, Failure.DEADLINE_EXCEEDED)
            self._call_off(job, now)
        elif now < job.lease_ends:
            self._watch_lease(job, now)
        else:
            self._out.append(Deliver(job.worker_id, JobCancel(job.job_id, job.attempt)))
            # A worker that never answered may never have seen the job, so it may have it again.
            started = job.status is JobStatus.RUNNING
            self._end_attempt(job, Failure.LEASE_EXPIRED, now, keep_tried=started)

    def sweep(self, now: SteadyMs) -> None:
        """Try to place the jobs whose turn it is. Finds nothing unless an event was missed."""
        for job in self._waiting.heads():
            worker = self._find_worker(job) if job.waiting else None
            if worker is not None:
                self._waiting.take(job, now)
                self._assign(job, worker, now)

    def slot_freed(self, event: SlotFreed, now: SteadyMs) -> None:
        """A worker is done with a job that was taken from it, or has had time enough for it."""
        worker = self._workers.get(event.worker_id)
        if worker is not None and event.job_id in worker.busy and event.job_id not in self._jobs:
            worker.busy.discard(event.job_id)
            self._out.append(CancelTimer(_slot_timer(event.worker_id, event.job_id)))
            self._feed(worker, now)

    # Decisions

    def _place(self, job: LiveJob, now: SteadyMs, *, first: bool = False) -> None:
        """Give a pending job to a free worker, or have it wait."""
        worker = self._find_worker(job)
        if worker is not None:
            self._assign(job, worker, now)
            return
        self._waiting.add(job, first=first)
        self._set_timer(job, DurationMs(max(job.window_ends - now, 0)), waiting=True)

    def _find_worker(self, job: LiveJob) -> LiveWorker | None:
        if self._admission.draining:
            return None
        providers = preferred_providers(job.tier, job.job_type)
        if not job.private:
            return self._idle.first(job.demand, providers, job.tried)
        free = [worker for worker in self._workers.trusted_with(job) if worker.free]
        return min(
            free,
            default=None,
            key=lambda w: (w.pubkey in job.tried, providers.index(w.provider_type), w.idle_since),
        )

    def _nobody_came(self, job: LiveJob) -> Failure:
        if job.private and not self._workers.trusted_with(job):
            return Failure.NO_TRUSTED_WORKER
        return Failure.NO_ELIGIBLE_WORKER

    def _feed(self, worker: LiveWorker, now: SteadyMs) -> None:
        """Give a worker jobs for all its free slots; stand it among the idle if some remain."""
        while worker.free:
            job = None if self._admission.draining else self._waiting.best_for(worker)
            if job is None:
                worker.idle_since = now
                self._idle.add(worker)
                return
            self._waiting.take(job, now)
            self._assign(job, worker, now)

    def _assign(self, job: LiveJob, worker: LiveWorker, now: SteadyMs) -> None:
        job.status = advance(job.status, JobEvent.CLAIM)
        job.attempt += 1
        job.worker_id = worker.worker_id
        job.worker_pubkey = worker.pubkey
        job.sent = False
        job.lease_ends = SteadyMs(now + job.lease)
        job.run_ends = SteadyMs(now + job.run_limit)
        worker.busy.add(job.job_id)
        if worker.free:
            self._idle.add(worker)
        else:
            self._idle.discard(worker)
        self._out.append(RecordAssigned(job.job_id, job.attempt, worker.pubkey, job.lease))
        self._watch_lease(job, now)

    def _end_attempt(
        self,
        job: LiveJob,
        reason: Failure,
        now: SteadyMs,
        *,
        keep_tried: bool = True,
        counts: bool = True,
        retryable: bool = True,
        detail: str | None = None,
    ) -> None:
        """An attempt brought no result: free its worker, then try the job elsewhere or give it up.

        An attempt that does not count leaves the job the rest of its window, so it cannot go on for ever.
        """
        pubkey = job.worker_pubkey
        self._absent.discard(job)
        # From here on nobody holds a lease, so whatever still arrives about this attempt is late.
        job.worker_pubkey, job.sent = None, False
        job.last_failure = reason
        job.last_detail = detail[:_MAX_DETAIL_CHARS] if detail else None
        job.failures += counts
        if not retryable:
            self._fail(job, reason)
        elif job.failures >= self._policy.max_failures:
            self._fail(job, Failure.ATTEMPTS_EXHAUSTED)
        elif not counts and now >= job.window_ends:
            self._fail(job, reason)
        else:
            if keep_tried and pubkey is not None:
                job.tried = (*job.tried, pubkey)
            self._requeue(job, reason, now, keep_tried=keep_tried, counts=counts)
        self._release(job, now)
        if job.status is JobStatus.PENDING:
            self._retry(job, reason, now)

    def _requeue(
        self, job: LiveJob, reason: Failure, now: SteadyMs, *, keep_tried: bool, counts: bool
    ) -> None:
        job.status = advance(job.status, JobEvent.REQUEUE)
        if counts:
            job.window_ends = SteadyMs(now + job.queue_window)
        window = DurationMs(job.window_ends - now)
        self._out.append(RecordRequeued(job.job_id, job.attempt, reason, window, keep_tried, counts))
        self._tell_followers(job)

    def _retry(self, job: LiveJob, reason: Failure, now: SteadyMs) -> None:
        """Put a job back: at once if a new worker is free or the old one was merely lost, else later."""
        worker = self._find_worker(job)
        untried_is_free = worker is not None and worker.pubkey not in job.tried
        if untried_is_free or reason in _NOT_THE_WORKERS_FAULT:
            self._place(job, now, first=True)
        else:
            self._set_timer(job, self._policy.backoff(job.attempt), waiting=False)

    def _release(self, job: LiveJob, now: SteadyMs) -> None:
        """Free the slot that a job held, and give it to the next job."""
        worker = self._workers.get(job.worker_id)
        job.worker_id = None
        if worker is not None and job.job_id in worker.busy:
            worker.busy.discard(job.job_id)
            self._feed(worker, now)
        self._tell_when_idle()

    def _call_off(self, job: LiveJob, now: SteadyMs) -> None:
        """Take an ended job from the worker that holds it.

        A worker of ours stops at once. Another does not know how, so its slot stays taken until it
        answers, or until the lease would have ended.
        """
        worker = self._workers.get(job.worker_id)
        if worker is None or not job.sent:
            self._release(job, now)
            return
        self._out.append(Deliver(worker.worker_id, JobCancel(job.job_id, job.attempt)))
        if worker.proven:
            self._release(job, now)
        else:
            freed = SlotFreed(worker.worker_id, job.job_id)
            self._out.append(SetTimer(_slot_timer(worker.worker_id, job.job_id), job.lease, freed))
            self._tell_when_idle()

    def _fail(self, job: LiveJob, failure: Failure) -> None:
        job.status = advance(job.status, JobEvent.FAIL)
        last = job.last_failure if job.last_failure is not failure else None
        result = failed_result(failure, last, job.last_detail)
        self._out.append(RecordFailed(job.job_id, job.attempt, result))
        self._forget(job)

    def _forget(self, job: LiveJob) -> None:
        del self._jobs[job.job_id]
        self._admission.leave(job.user_id)
        self._absent.discard(job)
        self._out.append(CancelTimer(job.job_id))

    def _tell_when_idle(self) -> None:
        if self._on_idle is None or any(job.status is not JobStatus.PENDING for job in self._jobs.values()):
            return
        on_idle, self._on_idle = self._on_idle, None
        on_idle()

    def _tell_followers(self, job: LiveJob) -> None:
        if job.followed:
            self._out.append(Progress(job.job_id, job.status, job.attempt))

    # Jobs whose worker is away

    def _await_return(self, job: LiveJob, grace: DurationMs) -> None:
        self._absent.add(job)
        self._set_timer(job, grace, waiting=False)

    def _return_held(self, worker: LiveWorker, held: set[tuple[str, int]], now: SteadyMs) -> None:
        """A worker of ours is back: it says which attempts it still holds; the others are lost."""
        for job_id, attempt in sorted(held):
            job = self._jobs.get(job_id)
            if job is None or job.attempt != attempt or job.worker_pubkey != worker.pubkey:
                # It ended while the worker was away; whatever comes of it now would be for nothing.
                self._out.append(Deliver(worker.worker_id, JobCancel(job_id, attempt)))
        absent = self._absent.of(worker.pubkey)
        lost = [job for job in absent if (job.job_id, job.attempt) not in held]
        for job in absent:
            if job not in lost:
                self._absent.discard(job)
                job.worker_id = worker.worker_id
                job.lease_ends = SteadyMs(now + job.lease)
                worker.busy.add(job.job_id)
                self._watch_lease(job, now)
        # Only now are the worker's used slots known; a lost job may well go to one of its free ones.
        for job in lost:
            self._end_attempt(job, Failure.WORKER_DISCONNECTED, now)

    # Timers: one for each job, named by the job

    def _watch_lease(self, job: LiveJob, now: SteadyMs) -> None:
        # Renewals only move ``lease_ends``; the timer looks again when it comes.
        ends = min(job.lease_ends, job.run_ends)
        self._set_timer(job, DurationMs(max(ends - now, 0)), waiting=False)

    def _set_timer(self, job: LiveJob, delay: DurationMs, *, waiting: bool) -> None:
        self._out.append(SetTimer(job.job_id, delay, JobTimer(job.job_id, job.attempt, waiting)))


def _slot_timer(worker_id: int, job_id: str) -> str:
    return f"slot:{worker_id}:{job_id}"
