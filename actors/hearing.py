"""What workers say about their jobs, and what follows from it."""

from __future__ import annotations

from compute_router.actors.attempts import Attempts, slot_timer
from compute_router.actors.clock import SteadyMs
from compute_router.actors.live import LiveJob
from compute_router.actors.messages.edge import Chunk
from compute_router.actors.messages.job_store import ClassifyLate, RecordCompletion, RecordStarted
from compute_router.actors.messages.matcher import LeasesRenewed, SlotFreed, WorkerSaid, WorkerSettled
from compute_router.actors.messages.timers import CancelTimer, SetTimer
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.actors.soft_failures import is_soft
from compute_router.actors.worker_claims import Misnamed, WorkerReportedError, read_completion
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobEvent, JobStatus, advance
from compute_router.protocol.messages import (
    ErrorFrame,
    JobAck,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
)


class Hearing(Attempts):
    """Listens to workers. A frame counts only from the worker that holds that attempt's lease."""

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
        job.answered_at = now
        self._absent.discard(job)
        self._out.append(
            RecordCompletion(
                event.worker_id,
                event.pubkey,
                job.attempt,
                frame,
                event.proven,
                claim.receipt,
                job.request_hash,
                self._policy.require_receipts,
            )
        )
        self._out.append(CancelTimer(job.job_id))
        # The worker has done its part, whatever the store will say: its slot is free from here on.
        self._release(job, now)

    def _answer_late(self, event: WorkerSaid, now: SteadyMs) -> None:
        frame = event.frame
        if isinstance(frame, JobComplete):
            self._out.append(
                ClassifyLate(event.worker_id, event.pubkey, frame.job_id, frame.attempt, frame.output_hash)
            )
        elif not self._being_stored(frame):
            self._out.append(Deliver(event.worker_id, JobAck(frame.job_id, "stale", attempt=frame.attempt)))
        if isinstance(frame, JobComplete | JobFailed | JobReject) and frame.job_id not in self._jobs:
            self.slot_freed(SlotFreed(event.worker_id, frame.job_id), now)

    def _being_stored(self, frame: JobStarted | JobChunk | JobFailed | JobReject) -> bool:
        # A sign of life that a result overtook: calling it stale would have the worker drop that result.
        job = self._jobs.get(frame.job_id)
        return job is not None and job.finishing and job.attempt == frame.attempt

    def _holds_lease(self, job: LiveJob, event: WorkerSaid) -> bool:
        if job.finishing or not job.sent:
            return False
        if job.worker_id is not None:
            return job.worker_id == event.worker_id
        # The connection that held it is gone; the same key, proven, may still speak for it.
        return event.proven and job.worker_pubkey == event.pubkey

    def slot_freed(self, event: SlotFreed, now: SteadyMs) -> None:
        """A worker is done with a job that was taken from it, or has had time enough for it."""
        worker = self._workers.get(event.worker_id)
        if worker is not None and event.job_id in worker.busy and event.job_id not in self._jobs:
            worker.busy.discard(event.job_id)
            self._out.append(CancelTimer(slot_timer(event.worker_id, event.job_id)))
            self._feed(worker, now)

    def leases_renewed(self, event: LeasesRenewed, now: SteadyMs) -> None:
        """A worker is alive and names what it works on."""
        for held in event.jobs:
            job = self._jobs.get(held.job_id)
            if job is not None and job.worker_id == event.worker_id and job.attempt == held.attempt:
                job.lease_ends = SteadyMs(now + job.lease)
