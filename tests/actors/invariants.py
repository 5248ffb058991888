"""What must be true of the Matcher's picture after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from compute_router.actors.matcher_core import MatcherCore
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import RecordCompletion
from compute_router.actors.messages.matcher import JobTimer, SlotFreed
from compute_router.actors.track_record import Band
from compute_router.protocol.job_state import JobStatus


def check_core(core: MatcherCore, timers: Mapping[str, Message], store_queue: Iterable[Message]) -> None:
    """Check a core against the timers that are set and the requests that the store has not answered."""
    _slots_hold_one_job_each(core, timers)
    _no_eligible_pair_is_left_waiting(core)
    _idle_workers_stand_in_the_lines_of_their_band(core)
    _every_job_will_be_moved_on(core, timers, store_queue)


def check_admission(core: MatcherCore, reserved: Mapping[str, int]) -> None:
    """Check that each unfinished job and each reserved place is counted once, for its user and in all."""
    places = Counter(job.user_id for job in core.jobs) + Counter(reserved)
    # Counts have no public face: nothing but their bounds can be seen from outside.
    admission = core._admission
    assert len(admission) == places.total()
    assert admission._by_user == places


def _slots_hold_one_job_each(core: MatcherCore, timers: Mapping[str, Message]) -> None:
    jobs = {job.job_id: job for job in core.jobs}
    held = Counter(job_id for worker in core.workers for job_id in worker.busy)
    assert all(count == 1 for count in held.values()), f"a job holds two slots: {held}"
    for worker in core.workers:
        assert len(worker.busy) <= worker.slots, f"{len(worker.busy)} jobs in {worker.slots} slots"
        for job_id in worker.busy:
            if job_id not in jobs:
                freed = SlotFreed(worker.worker_id, job_id)
                assert freed in timers.values(), f"nothing will ever free the slot of {job_id}"
                continue
            assert jobs[job_id].worker_id == worker.worker_id
            assert jobs[job_id].worker_pubkey == worker.pubkey
    for job in jobs.values():
        if job.worker_id is not None:
            assert held[job.job_id] == 1, f"{job.job_id} claims a slot that does not hold it"
            assert job.status in (JobStatus.ASSIGNED, JobStatus.RUNNING)


def _no_eligible_pair_is_left_waiting(core: MatcherCore) -> None:
    draining = core._admission.draining
    free = [] if draining else [worker for worker in core.workers if worker.free]
    for job in core.jobs:
        if job.waiting:
            assert job.status is JobStatus.PENDING
            assert not any(worker.can_run(job) for worker in free), f"{job.job_id} waits beside a free worker"


def _idle_workers_stand_in_the_lines_of_their_band(core: MatcherCore) -> None:
    for worker in core.workers:
        assert (worker.record is not None) == worker.proven
        band = Band.FAIR if worker.record is None else worker.record.band
        for demand in worker.demands:
            lines = core._idle._lines.get((demand, worker.provider_type), ())
            found = [number for number, line in enumerate(lines) if worker.worker_id in line]
            assert found == ([band] if worker.free else []), f"worker {worker.worker_id} stands in {found}"


def _every_job_will_be_moved_on(
    core: MatcherCore, timers: Mapping[str, Message], store_queue: Iterable[Message]
) -> None:
    """A job's end never hangs on somebody who may stay silent: a timer or the store comes back to it."""
    in_store = Counter(
        message.frame.job_id for message in store_queue if isinstance(message, RecordCompletion)
    )
    for job in core.jobs:
        assert in_store[job.job_id] == int(job.finishing), f"{job.job_id} is stored twice or not at all"
        if job.finishing:
            continue
        timer = timers.get(job.job_id)
        assert isinstance(timer, JobTimer), f"nothing will ever move {job.job_id}, which is {job.status}"
        assert timer.attempt == job.attempt
        assert timer.waiting == job.waiting
    live = {job.job_id for job in core.jobs}
    of_jobs = [timer.job_id for timer in timers.values() if isinstance(timer, JobTimer)]
    assert live.issuperset(of_jobs), "a timer outlived its job"
