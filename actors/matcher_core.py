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

from compute_router.actors.admission import Refusal
from compute_router.actors.auditing import Auditing
from compute_router.actors.clock import SteadyMs
from compute_router.actors.live import LiveJob, LiveWorker
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import Progress, PublishJob
from compute_router.actors.messages.job_store import (
    AssignmentRecorded,
    CompletionRecorded,
    JobEnded,
    RecordCancelled,
)
from compute_router.actors.messages.matcher import (
    Cancel,
    CanServe,
    ConnectedWorker,
    JobTimer,
    ListWorkers,
    Recover,
    Submit,
    TrustGranted,
    TrustRevoked,
    WorkerOnline,
    WorkerSettled,
    WorkersPage,
)
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobEvent, JobStatus, advance
from compute_router.protocol.messages import (
    JobAck,
    JobAssign,
    JobCancel,
)
from compute_router.protocol.units import DurationMs, UnixMs

logger = logging.getLogger(__name__)


class MatcherCore(Auditing):
    """Who runs what. Events pile up messages, in order; :meth:`drain` takes them out."""

    # What the actor and the tests ask

    def is_live(self, job_id: str, user_id: str | None = None) -> bool:
        """Whether a job is unfinished, and this user's if one is named."""
        return self._job_of(job_id, user_id) is not None

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

    def follow(self, job_id: str, user_id: str | None = None) -> Progress | None:
        """Publish every step of a job from now on; None if it is not unfinished, or another user's."""
        job = self._job_of(job_id, user_id)
        if job is None:
            return None
        job.followed = True
        return Progress(job_id, job.status, job.attempt)

    def _job_of(self, job_id: str, user_id: str | None) -> LiveJob | None:
        job = self._jobs.get(job_id)
        return None if job is None or user_id not in (None, job.user_id) else job

    def drain(self) -> list[Message]:
        """Take the messages that have piled up since the last call."""
        out, self._out = self._out, []
        return out

    # Jobs come in

    def reserve(self, user_id: str, at_once: int | None = None) -> Refusal | None:
        """Take a place for a job that is about to be stored, or say why there is none."""
        return self._admission.reserve(user_id, at_once)

    def give_back(self, user_id: str) -> None:
        """Give back a place whose job was not stored."""
        self._admission.leave(user_id)

    def can_serve(self, event: CanServe, now: SteadyMs) -> bool:
        """Whether a trusted worker for a job is connected, before that is stored."""
        job = LiveJob(event.job, now, event.trusted, self._policy.run_limit)
        return bool(self._workers.trusted_with(job))

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

        def remaining(deadline: int, whole: DurationMs) -> DurationMs:
            left = deadline - event.alive_until
            return DurationMs(min(max(left, self._policy.restart_grace), whole))

        for record, trusted in event.jobs:
            job = LiveJob(record, now, trusted, self._policy.run_limit)
            job.waiting_since = SteadyMs(now - max(event.alive_until - record.created_at, 0))
            job.window_left = remaining(record.queue_deadline, job.queue_window)
            job.window_ends = SteadyMs(now + job.window_left)
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
            assert record.lease_deadline is not None
            began = record.lease_deadline - job.lease
            job.run_ends = SteadyMs(now + remaining(began + job.run_limit, job.run_limit))
            job.recovered = True
            self._await_return(job, remaining(record.lease_deadline, job.lease))
            if job.private and job.worker_pubkey not in job.trusted:
                # The trust ended as the last run did.
                self._take_back(job, now)

    def trust_granted(self, event: TrustGranted, now: SteadyMs) -> None:
        """Let a newly paired worker have the user's PRIVATE jobs, and later attempts at those under way."""
        # All live jobs are looked through, because pairing is rare.
        for job in self._jobs.values():
            if not job.private or job.user_id != event.user_id:
                continue
            waiting = job.waiting
            if waiting:
                self._waiting.remove(job)
            job.trust(event.pubkey)
            if waiting:
                self._waiting.add(job)
        for worker in self._workers.with_key(event.pubkey):
            self._feed(worker, now)

    def trust_revoked(self, event: TrustRevoked, now: SteadyMs) -> None:
        """Keep the user's PRIVATE jobs from a worker, and take back those that it works on.

        A result that is being stored was made while the trust held.
        """
        lost = []
        for job in self._jobs.values():
            if not job.private or job.user_id != event.user_id or event.pubkey not in job.trusted:
                continue
            waiting = job.waiting
            if waiting:
                self._waiting.remove(job)
            job.distrust(event.pubkey)
            if waiting:
                self._waiting.add(job)
            elif job.worker_pubkey == event.pubkey and not job.finishing:
                lost.append(job)
        # Only now, or the worker could be given one of the others for the slot that it gives back.
        for job in lost:
            self._take_back(job, now)

    def _take_back(self, job: LiveJob, now: SteadyMs) -> None:
        """End an attempt for want of trust; it counts neither against the job nor as a try."""
        if job.worker_id is not None and job.sent:
            self._out.append(Deliver(job.worker_id, JobCancel(job.job_id, job.attempt)))
        self._end_attempt(job, Failure.NO_TRUSTED_WORKER, now, keep_tried=False, counts=False)

    def list_workers(self, event: ListWorkers, now: SteadyMs, unix_now: UnixMs) -> WorkersPage:
        """Some of the connected workers, as everybody may know them."""
        page = self._workers.page(event.after, event.limit + 1)
        more = len(page) > event.limit
        shown = page[: event.limit]
        return WorkersPage(
            tuple(
                ConnectedWorker(
                    worker.pubkey,
                    worker.provider_type,
                    worker.job_types,
                    worker.models,
                    worker.slots,
                    len(worker.busy),
                    worker.proven,
                    UnixMs(unix_now - (now - worker.since)),
                )
                for worker in shown
            ),
            shown[-1].worker_id if more else None,
        )

    # Jobs are wanted no more

    def cancel(self, event: Cancel, now: SteadyMs) -> bool:
        """End an unfinished job; False if there is none. A result that is being stored goes first."""
        job = self._job_of(event.job_id, event.user_id)
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
        if job.audit is not None:
            job.audit.under_way = False
        self._call_off(job, now)

    def start_drain(self, on_idle: Callable[[], None]) -> None:
        """Take no more jobs and give none out; ``on_idle`` is called when no worker holds one."""
        self._admission.draining = True
        self._on_idle = on_idle
        # Nobody waits for an audit.
        self._held_at_drain = [
            job.job_id
            for job in self._jobs.values()
            if job.status is not JobStatus.PENDING and job.audit is None
        ]
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
            instance=event.instance,
            features=event.features,
            vouched_for=event.proven or self._policy.legacy_workers,
            since=now,
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
            worker.since = previous.since
        self._take_record(worker)
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
        if not self._workers.with_key(worker.pubkey):
            self._records.rest(worker.pubkey)
        for job in [self._jobs[job_id] for job_id in worker.busy if job_id in self._jobs]:
            job.worker_id = None
            if job.finishing:
                continue
            if worker.proven and job.sent:
                self._await_return(job, self._policy.reconnect_grace)
            else:
                self._end_attempt(job, Failure.WORKER_DISCONNECTED, now, keep_tried=job.sent)

    # The store answers

    def assignment_recorded(self, event: AssignmentRecorded, now: SteadyMs) -> None:
        """Send the job out, now that its lease is durable."""
        job = self._jobs.get(event.job_id)
        if job is None or job.attempt != event.attempt or job.worker_id is None:
            return
        if event.payload is None:
            if job.audit is None:
                logger.error("job %s was not pending in the store; it is dropped here", job.job_id)
            else:
                # The job to be repeated was deleted meanwhile.
                self._audits.close(job.audit)
            self._forget(job)
            self._release(job, now)
            return
        job.sent = True
        job.request_hash = event.request_hash
        # The lease is the worker's time: what the disk took does not count.
        self._begin_lease(job, now)
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
                    user_id=job.user_id if job.audit is None else job.audit.user_id,
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
                self._believed(job, now)
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
            elif self._admission.draining:
                # Nobody is given jobs now, so it is not for want of a worker that this one waits.
                self._set_timer(job, self._policy.queue_window, waiting=True)
            else:
                self._waiting.remove(job)
                self._fail(job, job.last_failure or self._nobody_came(job))
        elif not event.waiting:
            self._held_too_long(job, now)

    def _held_too_long(self, job: LiveJob, now: SteadyMs) -> None:
        if job.worker_id is None:
            self._end_attempt(job, Failure.WORKER_DISCONNECTED, now)
        elif not job.sent:
            # Still being stored, so no worker has it yet; the store's answer begins the lease.
            self._begin_lease(job, now)
            self._watch_lease(job, now)
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
                job.record = worker.record if job.audit is None else None
                job.lease_ends = SteadyMs(now + job.lease)
                worker.busy.add(job.job_id)
                self._watch_lease(job, now)
        # Only now are the worker's used slots known; a lost job may well go to one of its free ones.
        for job in lost:
            # The same program without the attempt never got it; and after a restart of ours nobody can know.
            never_held = job.recovered or (
                worker.instance is not None and job.worker_instance == worker.instance
            )
            self._end_attempt(
                job, Failure.WORKER_DISCONNECTED, now, keep_tried=not never_held, counts=not never_held
            )
