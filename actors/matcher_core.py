"""The matching decisions, as a plain class: events in, messages for other actors out.

The core keeps two promises, which the property tests hold it to: a slot never holds two jobs and a job
never two slots; and after every event no waiting job has a free worker that could run it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from compute_router.actors.clock import SteadyMs
from compute_router.actors.idle_workers import IdleWorkers
from compute_router.actors.live import LiveJob, LiveWorker
from compute_router.actors.messages import (
    AssignmentRecorded,
    CancelTimer,
    ClassifyLate,
    CompletionRecorded,
    Deliver,
    JobEnded,
    JobTimer,
    Message,
    PublishJob,
    RecordAssigned,
    RecordCompletion,
    RecordFailed,
    RecordRequeued,
    RecordStarted,
    SetTimer,
    Submit,
    TrustGranted,
    WorkerOnline,
    WorkerSaid,
)
from compute_router.actors.policy import MatchingPolicy, preferred_providers
from compute_router.actors.waiting_jobs import WaitingJobs
from compute_router.actors.worker_claims import Misnamed, WorkerReportedError, read_completion
from compute_router.protocol.failures import Failure, failed_result
from compute_router.protocol.job_state import JobEvent, JobStatus, advance
from compute_router.protocol.messages import (
    ErrorFrame,
    JobAck,
    JobAssign,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
)
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import UnfinishedJob

logger = logging.getLogger(__name__)


class MatcherCore:
    """Who runs what. Every method returns the messages that follow from its event, in order."""

    def __init__(self, policy: MatchingPolicy) -> None:
        self._policy = policy
        self._jobs: dict[str, LiveJob] = {}
        self._workers: dict[int, LiveWorker] = {}
        self._by_key: dict[str, dict[int, LiveWorker]] = {}
        self._idle = IdleWorkers()
        self._waiting = WaitingJobs(policy.ageing)
        self._orphans: dict[str, set[str]] = {}
        self._out: list[Message] = []

    # What the actor, its tests and health ask

    def is_live(self, job_id: str) -> bool:
        """Whether a job is unfinished."""
        return job_id in self._jobs

    @property
    def jobs(self) -> Iterable[LiveJob]:
        """All unfinished jobs."""
        return self._jobs.values()

    @property
    def workers(self) -> Iterable[LiveWorker]:
        """All registered connections."""
        return self._workers.values()

    def drain(self) -> list[Message]:
        """Take the messages that have piled up since the last call."""
        out, self._out = self._out, []
        return out

    # Jobs come in

    def submit(self, event: Submit, now: SteadyMs) -> bool:
        """Take a stored job in; False when it is PRIVATE and no trusted worker for it is connected."""
        job = LiveJob(event.job, now, SteadyMs(now + self._policy.queue_window), event.trusted)
        if job.private and not self._trusted_workers(job):
            return False
        self._jobs[job.job_id] = job
        self._place(job, now)
        return True

    def recover(
        self, jobs: Iterable[tuple[UnfinishedJob, tuple[str, ...]]], now: SteadyMs, wall: int
    ) -> None:
        """Take up what a restart found.

        Waiting jobs get a whole window, because workers need time to come back. A job that a worker holds
        stays with it until its lease ends, but at least for the restart grace.
        """
        for record, trusted in jobs:
            job = LiveJob(record, now, SteadyMs(now + self._policy.queue_window), trusted)
            job.attempt = record.attempt
            job.tried = record.tried_pubkeys
            job.last_failure = record.last_failure
            self._jobs[job.job_id] = job
            if record.status is JobStatus.PENDING:
                self._place(job, now)
                continue
            job.status = record.status
            job.worker_pubkey = record.worker_pubkey
            job.sent = True
            remaining = max((record.lease_deadline or 0) - wall, self._policy.restart_grace)
            self._await_return(job, DurationMs(remaining))

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
        for worker in list(self._by_key.get(event.pubkey, {}).values()):
            self._feed(worker, now)

    # Workers come and go

    def worker_online(self, event: WorkerOnline, now: SteadyMs) -> None:
        """Register a connection, or renew one whose abilities changed; give back the jobs it still holds."""
        previous = self._workers.get(event.worker_id)
        worker = LiveWorker(
            event.worker_id,
            event.pubkey,
            event.provider_type,
            event.job_types,
            event.models,
            event.slots,
            proven=event.proven,
        )
        if previous is not None:
            self._idle.discard(previous)
            if previous.pubkey == event.pubkey:
                worker.busy = previous.busy
                worker.settled = previous.settled or worker.settled
            else:
                self.worker_offline(event.worker_id, now)
                previous = None
        self._workers[worker.worker_id] = worker
        self._by_key.setdefault(worker.pubkey, {})[worker.worker_id] = worker
        if worker.proven and previous is None:
            self._return_orphans(worker, {(held.job_id, held.attempt) for held in event.held}, now)
        self._feed(worker, now)

    def worker_settled(self, worker_id: int, now: SteadyMs) -> None:
        """Begin to give jobs to a worker that registered a moment ago."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.settled = True
            self._feed(worker, now)

    def worker_offline(self, worker_id: int, now: SteadyMs) -> None:
        """Forget a connection. Its jobs go back, or wait a moment for a worker of ours to return."""
        worker = self._workers.pop(worker_id, None)
        if worker is None:
            return
        self._idle.discard(worker)
        same_key = self._by_key[worker.pubkey]
        del same_key[worker_id]
        if not same_key:
            del self._by_key[worker.pubkey]
        for job_id in list(worker.busy):
            job = self._jobs[job_id]
            worker.busy.discard(job_id)
            job.worker_id = None
            if job.finishing:
                continue
            if worker.proven and job.sent:
                self._await_return(job, self._policy.reconnect_grace)
            else:
                self._end_attempt(job, Failure.WORKER_DISCONNECTED, now, keep_tried=job.sent)

    # Workers speak

    def worker_said(self, event: WorkerSaid, now: SteadyMs) -> None:
        """Act on what a worker said about a job, if the job is its own."""
        frame = event.frame
        job = self._jobs.get(frame.job_id)
        if job is None or not self._holds_lease(job, event) or frame.attempt not in (None, job.attempt):
            self._answer_late(event)
        elif isinstance(frame, JobComplete):
            self._completed(job, event, frame, now)
        elif isinstance(frame, JobStarted):
            self._started(job)
        elif isinstance(frame, JobReject):
            self._end_attempt(job, Failure.WORKER_REJECTED, now, detail=frame.reason)
        else:
            self._worker_failed(job, frame, now)

    def _started(self, job: LiveJob) -> None:
        if job.status is JobStatus.ASSIGNED:
            job.status = advance(job.status, JobEvent.START)
            self._out.append(RecordStarted(job.job_id, job.attempt))
            self._set_lease_timer(job, self._policy.lease(job.job_type))

    def _worker_failed(self, job: LiveJob, frame: JobFailed, now: SteadyMs) -> None:
        detail = f"{frame.code}: {frame.message}"
        self._end_attempt(job, Failure.WORKER_ERROR, now, detail=detail, retryable=frame.retryable)

    def _completed(self, job: LiveJob, event: WorkerSaid, frame: JobComplete, now: SteadyMs) -> None:
        claim = read_completion(frame, event.pubkey, proven=event.proven)
        if isinstance(claim, Misnamed):
            self._out.append(Deliver(event.worker_id, ErrorFrame("RECEIPT_MISMATCH", claim.message)))
            return
        if isinstance(claim, WorkerReportedError):
            self._end_attempt(job, Failure.WORKER_ERROR, now, detail=claim.message)
            return
        job.finishing = True
        self._leave_orphans(job)
        self._out.append(RecordCompletion(event.worker_id, event.pubkey, job.attempt, frame))
        self._out.append(CancelTimer(job.job_id))
        # The worker has done its part, whatever the store will say: its slot is free from here on.
        self._release(job, now)

    def _answer_late(self, event: WorkerSaid) -> None:
        frame = event.frame
        if isinstance(frame, JobComplete):
            self._out.append(ClassifyLate(event.worker_id, event.pubkey, frame.job_id, frame.attempt))
        else:
            self._out.append(Deliver(event.worker_id, JobAck(frame.job_id, "stale", attempt=frame.attempt)))

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
                    deadline_ms=self._policy.lease(job_type),
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
            self._end_attempt(job, Failure.RECEIPT_INVALID, now, detail=event.reason)

    def job_ended(self, event: JobEnded) -> None:
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
                self._place(job, now)
            else:
                self._waiting.remove(job)
                self._fail(job, job.last_failure or self._nobody_came(job))
        elif not event.waiting:
            if job.worker_id is None:
                self._end_attempt(job, Failure.WORKER_DISCONNECTED, now)
            else:
                # A worker that never answered may never have seen the job, so it may have it again.
                started = job.status is JobStatus.RUNNING
                self._end_attempt(job, Failure.LEASE_EXPIRED, now, keep_tried=started)

    def sweep(self, now: SteadyMs) -> None:
        """Try to place the jobs whose turn it is. Finds nothing unless an event was missed."""
        for job in self._waiting.heads():
            worker = self._find_worker(job) if job.waiting else None
            if worker is not None:
                self._waiting.take(job, now)
                self._assign(job, worker)

    # Decisions

    def _place(self, job: LiveJob, now: SteadyMs, *, first: bool = False) -> None:
        """Give a pending job to a free worker, or have it wait."""
        worker = self._find_worker(job)
        if worker is not None:
            self._assign(job, worker)
            return
        self._waiting.add(job, first=first)
        self._set_timer(job, DurationMs(max(job.window_ends - now, 0)), waiting=True)

    def _find_worker(self, job: LiveJob) -> LiveWorker | None:
        providers = preferred_providers(job.tier, job.job_type)
        if not job.private:
            return self._idle.first(job.demand, providers, job.tried)
        free = [worker for worker in self._trusted_workers(job) if worker.free]
        return min(
            free,
            default=None,
            key=lambda w: (w.pubkey in job.tried, providers.index(w.provider_type), w.idle_since),
        )

    def _trusted_workers(self, job: LiveJob) -> list[LiveWorker]:
        return [
            worker
            for pubkey in job.trusted
            for worker in self._by_key.get(pubkey, {}).values()
            if worker.can_run(job)
        ]

    def _nobody_came(self, job: LiveJob) -> Failure:
        if job.private and not self._trusted_workers(job):
            return Failure.NO_TRUSTED_WORKER
        return Failure.NO_ELIGIBLE_WORKER

    def _feed(self, worker: LiveWorker, now: SteadyMs) -> None:
        """Give a worker jobs for all its free slots; stand it among the idle if some remain."""
        while worker.free:
            job = self._waiting.best_for(worker)
            if job is None:
                worker.idle_since = now
                self._idle.add(worker)
                return
            self._waiting.take(job, now)
            self._assign(job, worker)

    def _assign(self, job: LiveJob, worker: LiveWorker) -> None:
        job.status = advance(job.status, JobEvent.CLAIM)
        job.attempt += 1
        job.worker_id = worker.worker_id
        job.worker_pubkey = worker.pubkey
        job.sent = False
        worker.busy.add(job.job_id)
        if worker.free:
            self._idle.add(worker)
        else:
            self._idle.discard(worker)
        lease = self._policy.lease(job.job_type)
        self._out.append(RecordAssigned(job.job_id, job.attempt, worker.pubkey, lease))
        self._set_lease_timer(job, lease)

    def _end_attempt(
        self,
        job: LiveJob,
        reason: Failure,
        now: SteadyMs,
        *,
        keep_tried: bool = True,
        retryable: bool = True,
        detail: str | None = None,
    ) -> None:
        """An attempt brought no result: free its worker, then try the job elsewhere or give it up."""
        pubkey = job.worker_pubkey
        self._leave_orphans(job)
        # From here on nobody holds a lease, so whatever still arrives about this attempt is late.
        job.worker_pubkey, job.sent = None, False
        job.last_failure, job.last_detail = reason, detail
        if not retryable:
            self._fail(job, reason)
        elif job.attempt >= self._policy.max_attempts:
            self._fail(job, Failure.ATTEMPTS_EXHAUSTED)
        else:
            job.status = advance(job.status, JobEvent.REQUEUE)
            if keep_tried and pubkey is not None:
                job.tried = (*job.tried, pubkey)
            window = self._policy.queue_window
            job.window_ends = SteadyMs(now + window)
            self._out.append(RecordRequeued(job.job_id, job.attempt, reason, window, keep_tried))
        self._release(job, now)
        if job.status is JobStatus.PENDING:
            self._retry(job, reason, now)

    def _retry(self, job: LiveJob, reason: Failure, now: SteadyMs) -> None:
        """Put a job back: at once if a new worker is free or the old one was merely lost, else later."""
        worker = self._find_worker(job)
        untried_is_free = worker is not None and worker.pubkey not in job.tried
        if untried_is_free or reason in (Failure.WORKER_DISCONNECTED, Failure.LEASE_EXPIRED):
            self._place(job, now, first=True)
        else:
            self._set_timer(job, self._policy.backoff(job.attempt), waiting=False)

    def _release(self, job: LiveJob, now: SteadyMs) -> None:
        """Free the slot that a job held, and give it to the next job."""
        worker = self._workers.get(job.worker_id) if job.worker_id is not None else None
        job.worker_id = None
        if worker is not None and job.job_id in worker.busy:
            worker.busy.discard(job.job_id)
            self._feed(worker, now)

    def _fail(self, job: LiveJob, failure: Failure) -> None:
        job.status = advance(job.status, JobEvent.FAIL)
        last = job.last_failure if job.last_failure is not failure else None
        result = failed_result(failure, last, job.last_detail)
        self._out.append(RecordFailed(job.job_id, job.attempt, result))
        self._forget(job)

    def _forget(self, job: LiveJob) -> None:
        del self._jobs[job.job_id]
        self._leave_orphans(job)
        self._out.append(CancelTimer(job.job_id))

    # Jobs whose worker is away

    def _await_return(self, job: LiveJob, grace: DurationMs) -> None:
        assert job.worker_pubkey is not None
        self._orphans.setdefault(job.worker_pubkey, set()).add(job.job_id)
        self._set_timer(job, grace, waiting=False)

    def _return_orphans(self, worker: LiveWorker, held: set[tuple[str, int]], now: SteadyMs) -> None:
        """A worker of ours is back: it says which attempts it still holds; the others are lost."""
        orphans = [self._jobs[job_id] for job_id in sorted(self._orphans.get(worker.pubkey, ()))]
        lost = [job for job in orphans if (job.job_id, job.attempt) not in held]
        for job in orphans:
            if job not in lost:
                self._leave_orphans(job)
                job.worker_id = worker.worker_id
                worker.busy.add(job.job_id)
                self._set_lease_timer(job, self._policy.lease(job.job_type))
        # Only now are the worker's used slots known; a lost job may well go to one of its free ones.
        for job in lost:
            self._end_attempt(job, Failure.WORKER_DISCONNECTED, now)

    def _leave_orphans(self, job: LiveJob) -> None:
        waiting_for = self._orphans.get(job.worker_pubkey or "")
        if waiting_for is not None:
            waiting_for.discard(job.job_id)
            if not waiting_for:
                del self._orphans[job.worker_pubkey or ""]

    # Timers: one for each job, named by the job

    def _set_lease_timer(self, job: LiveJob, lease: DurationMs) -> None:
        self._set_timer(job, lease, waiting=False)

    def _set_timer(self, job: LiveJob, delay: DurationMs, *, waiting: bool) -> None:
        self._out.append(SetTimer(job.job_id, delay, JobTimer(job.job_id, job.attempt, waiting)))
