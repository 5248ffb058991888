"""The attempts that a worker works on, those that it stops, and those whose results it still holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType
from compute_router.protocol.messages import (
    Frame,
    JobAck,
    JobAssign,
    JobChunk,
    JobReject,
    JobStarted,
    Model,
    encode_frame,
)
from compute_router.protocol.receipts import WorkDone, sha256_hex
from compute_router.protocol.sealing import SealBinding
from compute_router.worker.jobs import Assignment, AttemptKey, Outcome, Stopped
from compute_router.worker.outbox import Outbox
from compute_router.worker.result_frames import result_frame
from compute_router.worker.session_events import Effect, RunJob, SendFrame, StopJob

BUSY: Final = "busy"
DRAINING: Final = "draining"

_ACK_STATUSES: Final = ("accepted", "stale", "rejected")

_log = logging.getLogger(__name__)


def job_types(models: Sequence[Model]) -> list[JobType]:
    """What a worker with these models can do."""
    return [JobType.LLM_INFER, JobType.TASK] if models else [JobType.TASK]


class Workload:
    """Takes jobs, chunks and outcomes in, and says what is to be sent, run and stopped.

    An attempt that was stopped is gone for the coordinator at once. Its executor needs a moment more: until
    :meth:`finish` comes for it, its name is not used again.
    """

    def __init__(self, key: SigningKey, slots: int) -> None:
        self._key = key
        self._slots = slots
        self._next_chunk: dict[AttemptKey, int] = {}
        self._work: dict[AttemptKey, WorkDone] = {}
        self._stopping: set[AttemptKey] = set()
        self._outbox = Outbox()

    @property
    def running(self) -> list[AttemptKey]:
        """Attempts that are worked on."""
        return list(self._next_chunk)

    @property
    def held(self) -> list[AttemptKey]:
        """Attempts that run, and then those whose results are not acknowledged."""
        return [*self._next_chunk, *self._outbox.attempts()]

    def assign(
        self, assign: JobAssign, models: Sequence[Model], *, draining: bool, network: str | None = None
    ) -> list[Effect]:
        """Take a job, or say why not. A newer attempt takes the place of an older one of the same job.

        ``network`` is the one that the coordinator says it serves, None when it did not say.
        """
        key = AttemptKey(assign.job_id, assign.attempt)
        if key in self._next_chunk:
            _log.debug("Job %s was assigned again while it runs.", key)
            return []
        if key in self._outbox:
            return self.deliver(key)
        if key in self._stopping or self._has_newer_than(key):
            return [reject(key, BUSY)]
        over = [effect for old in self._older_than(key) for effect in self.cancel(old)]
        return [*over, *self._take(key, assign, models, network, draining=draining)]

    def cancel(self, key: AttemptKey) -> list[Effect]:
        """Forget an attempt: stop it if it runs, drop its result if there is one."""
        if key in self._next_chunk:
            _log.info("Job %s is stopped: its outcome is no longer wanted.", key)
            del self._next_chunk[key]
            self._work.pop(key, None)
            self._stopping.add(key)
            return [StopJob(key)]
        self._outbox.drop(key)
        return []

    def chunk(self, key: AttemptKey, delta: str) -> list[Effect]:
        """A piece of output to send. The numbers go on while nobody hears them: a gap tells of a loss."""
        seq = self._next_chunk.get(key)
        if seq is None or key.attempt is None:
            return []
        self._next_chunk[key] = seq + 1
        return [send(JobChunk(key.job_id, key.attempt, seq, delta))]

    def finish(self, key: AttemptKey, outcome: Outcome) -> None:
        """An executor is done with an attempt; its result is held for :meth:`deliver`, unless it was stopped.

        Raises:
            ValueError: the attempt does not run, or ended as if it had been stopped.
        """
        if key in self._stopping:
            self._stopping.remove(key)
            return
        if self._next_chunk.pop(key, None) is None:
            raise ValueError(f"job {key} finished without having been started")
        if isinstance(outcome, Stopped):
            raise ValueError(f"job {key} stopped without having been told to")
        frame = result_frame(self._key, key, outcome, self._work.pop(key, None))
        self._outbox.put(key, frame.data, acknowledged=frame.acknowledged)

    def deliver(self, key: AttemptKey) -> list[Effect]:
        """Send what is held for an attempt, if anything."""
        return [SendFrame(frame) for frame in self._outbox.send(key)]

    def deliver_all(self) -> list[Effect]:
        """Send everything that is held."""
        return [effect for key in self._outbox.attempts() for effect in self.deliver(key)]

    def acknowledge(self, ack: JobAck) -> None:
        """The coordinator has dealt with a result."""
        if ack.status not in _ACK_STATUSES:
            _log.warning("The coordinator acknowledged a job with the unknown status %r.", ack.status)
            return
        if ack.status != "accepted":
            key = AttemptKey(ack.job_id, ack.attempt)
            _log.warning("The result of job %s was not taken: %s", key, ack.reason or ack.status)
        self._outbox.acknowledge(ack.job_id, ack.attempt)

    def _take(
        self,
        key: AttemptKey,
        assign: JobAssign,
        models: Sequence[Model],
        network: str | None,
        *,
        draining: bool,
    ) -> list[Effect]:
        if draining:
            return [reject(key, DRAINING)]
        if assign.job_type not in job_types(models):
            return [reject(key, f"unsupported job type {assign.job_type.value}")]
        if len(self._next_chunk) >= self._slots:
            return [reject(key, BUSY)]
        self._next_chunk[key] = 0
        is_llm = assign.job_type is JobType.LLM_INFER
        payload = bytes(assign.payload)
        model = (assign.model or models[0].name) if is_llm else None
        if key.attempt is not None:
            digest = next((each.digest for each in models if each.name == model), None)
            self._work[key] = WorkDone(sha256_hex(payload), model, digest, key.attempt)
        run = RunJob(
            Assignment(
                key=key,
                job_type=assign.job_type,
                payload=payload,
                model=model,
                binding=_binding(assign, network),
            )
        )
        # A task is over within milliseconds: saying that it started would only cost a frame.
        if is_llm and key.attempt is not None:
            return [send(JobStarted(key.job_id, key.attempt)), run]
        return [run]

    def _older_than(self, key: AttemptKey) -> list[AttemptKey]:
        return [other for other in self.held if _is_newer(key, other)]

    def _has_newer_than(self, key: AttemptKey) -> bool:
        return any(_is_newer(other, key) for other in self.held)


def send(frame: Frame) -> SendFrame:
    """The effect that sends a frame."""
    return SendFrame(encode_frame(frame))


def reject(key: AttemptKey, reason: str) -> SendFrame:
    """The effect that gives an attempt back."""
    return send(JobReject(job_id=key.job_id, reason=reason, attempt=key.attempt))


def _binding(assign: JobAssign, network: str | None) -> SealBinding | None:
    if network is None:
        return None
    return SealBinding(network, assign.job_type, assign.user_id, assign.model)


def _is_newer(key: AttemptKey, other: AttemptKey) -> bool:
    if key.job_id != other.job_id or key.attempt is None or other.attempt is None:
        return False
    return key.attempt > other.attempt
