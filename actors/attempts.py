"""How an attempt at a job ends without a result, and what becomes of the job and of its worker."""

from __future__ import annotations

from typing import Final

from compute_router.actors.clock import SteadyMs
from compute_router.actors.live import LiveJob
from compute_router.actors.messages.job_store import RecordFailed, RecordRequeued
from compute_router.actors.messages.matcher import SlotFreed
from compute_router.actors.messages.timers import CancelTimer, SetTimer
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.actors.placing import Placing
from compute_router.actors.track_record import TrackRecord
from compute_router.protocol.failures import Failure, failed_result
from compute_router.protocol.job_state import JobEvent, JobStatus, advance
from compute_router.protocol.messages import JobCancel
from compute_router.protocol.units import DurationMs

_MAX_DETAIL_CHARS: Final = 1000
_NOT_THE_WORKERS_FAULT: Final = (
    Failure.WORKER_DISCONNECTED,
    Failure.LEASE_EXPIRED,
    Failure.NO_TRUSTED_WORKER,
)


class Attempts(Placing):
    """Takes jobs back from workers: to try them elsewhere, or to give them up."""

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

        An attempt that does not count leaves the job what it had left of its window, so it cannot go on for
        ever.
        """
        pubkey = job.worker_pubkey
        if job.record is not None:
            self._count_end(job.record, job, reason, counts=counts, retryable=retryable)
        self._absent.discard(job)
        # From here on nobody holds a lease, so whatever still arrives about this attempt is late.
        job.worker_pubkey, job.sent = None, False
        job.last_failure = reason
        job.last_detail = detail[:_MAX_DETAIL_CHARS] if detail else None
        job.failures += counts
        if not retryable or job.audit is not None:
            self._fail(job, reason)
        elif job.failures >= self._policy.max_failures:
            self._fail(job, Failure.ATTEMPTS_EXHAUSTED)
        elif not counts and not job.window_left:
            self._fail(job, reason)
        else:
            if keep_tried and pubkey is not None:
                job.tried = (*job.tried, pubkey)
            self._requeue(job, reason, now, keep_tried=keep_tried, counts=counts)
        self._release(job, now)
        if job.status is JobStatus.PENDING:
            self._retry(job, reason, now)

    def _count_end(
        self, record: TrackRecord, job: LiveJob, reason: Failure, *, counts: bool, retryable: bool
    ) -> None:
        """Hold an attempt against its worker, if the worker is to blame.

        It is not for a job that no worker could do, nor for losing what a restart of ours took from it or
        what it was never sent. Nor is want of room, which does not count for the job either. Whether a job
        that it failed or refused could be done shows when another does it.
        """
        held = job.sent and not job.recovered
        records, changed = self._records, False
        if reason is Failure.RECEIPT_INVALID:
            changed = records.wrong_proof(record)
        elif not counts:
            return
        elif reason in (Failure.WORKER_ERROR, Failure.WORKER_REJECTED) and retryable:
            job.blamed = (*job.blamed, (record, reason))
        elif reason in (Failure.WORKER_DISCONNECTED, Failure.LEASE_EXPIRED) and held:
            changed = records.lost(record)
        if changed:
            self._band_changed(record)

    def _band_changed(self, record: TrackRecord) -> None:
        for worker in self._workers.with_key(record.pubkey):
            self._idle.band_changed(worker)

    def _requeue(
        self, job: LiveJob, reason: Failure, now: SteadyMs, *, keep_tried: bool, counts: bool
    ) -> None:
        job.status = advance(job.status, JobEvent.REQUEUE)
        window = job.queue_window if counts else job.window_left
        job.window_ends = SteadyMs(now + window)
        self._out.append(RecordRequeued(job.job_id, job.attempt, reason, window, keep_tried, counts))
        self._tell_followers(job)

    def _retry(self, job: LiveJob, reason: Failure, now: SteadyMs) -> None:
        """Put a job back: at once if a new worker is free or the old one was merely lost, else later."""
        worker = self._find_worker(job)
        untried_is_free = worker is not None and worker.pubkey not in job.tried
        if untried_is_free or reason in _NOT_THE_WORKERS_FAULT:
            self._place(job, now, first=True)
        else:
            backoff = self._policy.backoff(job.attempt)
            self._set_timer(job, DurationMs(min(backoff, job.window_ends - now)), waiting=False)

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
        if not job.finishing:
            # A job whose result is being stored has no timer any more.
            self._out.append(CancelTimer(job.job_id))

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
            self._out.append(SetTimer(slot_timer(worker.worker_id, job.job_id), job.lease, freed))
            self._tell_when_idle()

    def _await_return(self, job: LiveJob, grace: DurationMs) -> None:
        self._absent.add(job)
        self._set_timer(job, grace, waiting=False)

    def _tell_when_idle(self) -> None:
        if self._on_idle is None:
            return
        # No job is given out during a drain, so those that were held at its beginning only become fewer.
        while self._held_at_drain:
            job = self._jobs.get(self._held_at_drain[-1])
            if job is not None and job.status is not JobStatus.PENDING:
                return
            self._held_at_drain.pop()
        on_idle, self._on_idle = self._on_idle, None
        on_idle()


def slot_timer(worker_id: int, job_id: str) -> str:
    """Name of the timer that frees a slot whose job was taken away."""
    return f"slot:{worker_id}:{job_id}"
