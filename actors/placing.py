"""Who gets which job: claims for jobs that come, and jobs for workers that become free."""

from __future__ import annotations

from compute_router.actors.clock import SteadyMs
from compute_router.actors.idle_workers import preference
from compute_router.actors.live import LiveJob, LiveWorker
from compute_router.actors.market import Market
from compute_router.actors.messages.edge import Progress
from compute_router.actors.messages.job_store import RecordAssigned
from compute_router.actors.messages.matcher import JobTimer
from compute_router.actors.messages.timers import SetTimer
from compute_router.actors.policy import preferred_providers
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobEvent, advance
from compute_router.protocol.units import DurationMs


class Placing(Market):
    """Brings jobs and workers together. Each job has one timer, which is named by the job."""

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
        return min(free, default=None, key=lambda worker: preference(worker, job, providers))

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
        job.worker_instance = worker.instance
        job.record = worker.record
        job.tasks = None if worker.record is None else worker.record.tasks
        job.recovered = False
        job.window_left = DurationMs(max(job.window_ends - now, 0))
        job.sent = False
        self._begin_lease(job, now)
        worker.busy.add(job.job_id)
        if worker.free:
            self._idle.add(worker)
        else:
            self._idle.discard(worker)
        self._out.append(RecordAssigned(job.job_id, job.attempt, worker.pubkey, job.lease))
        self._watch_lease(job, now)

    def _tell_followers(self, job: LiveJob) -> None:
        if job.followed:
            self._out.append(Progress(job.job_id, job.status, job.attempt))

    def _begin_lease(self, job: LiveJob, now: SteadyMs) -> None:
        job.lease_ends = SteadyMs(now + job.lease)
        job.run_ends = SteadyMs(now + job.run_limit)

    def _watch_lease(self, job: LiveJob, now: SteadyMs) -> None:
        # Renewals only move ``lease_ends``; the timer looks again when it comes.
        ends = min(job.lease_ends, job.run_ends)
        self._set_timer(job, DurationMs(max(ends - now, 0)), waiting=False)

    def _set_timer(self, job: LiveJob, delay: DurationMs, *, waiting: bool) -> None:
        self._out.append(SetTimer(job.job_id, delay, JobTimer(job.job_id, job.attempt, waiting)))
