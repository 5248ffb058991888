"""Jobs that wait for a worker, indexed by what a worker can offer.

A job stands in one lane if any worker may have it, or in one lane for each trusted key if it is
private. A freed worker looks at the heads of its own lanes and at nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

from compute_router.actors.fair_queue import FairQueue
from compute_router.actors.live import LiveJob, LiveWorker
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.units import DurationMs

_ANYBODY = ""
_Lane = tuple[str, JobType, str | None, Tier]


class WaitingJobs:
    """All waiting jobs. FAST goes before CHEAP, unless the CHEAP job waited ``ageing`` longer."""

    def __init__(self, ageing: DurationMs) -> None:
        self._ageing = ageing
        self._lanes: dict[_Lane, FairQueue[LiveJob]] = {}
        self._private_by_user: dict[str, dict[str, LiveJob]] = {}

    def add(self, job: LiveJob, *, first: bool = False) -> None:
        """Have a job wait; ``first`` puts it before the user's other jobs."""
        job.waiting = True
        for key in self._lanes_of(job):
            lane = self._lanes.setdefault(key, FairQueue())
            (lane.push_first if first else lane.push)(job.user_id, job.job_id, job)
        if job.private:
            self._private_by_user.setdefault(job.user_id, {})[job.job_id] = job

    def take(self, job: LiveJob) -> None:
        """Take a job out because it gets its worker."""
        self._leave(job, turn_used=True)

    def remove(self, job: LiveJob) -> None:
        """Take a job out because it ended."""
        self._leave(job, turn_used=False)

    def best_for(self, worker: LiveWorker) -> LiveJob | None:
        """The job that a free worker should run next."""
        best: LiveJob | None = None
        best_rank = 0
        for job_type, model in worker.demands:
            for whose in (_ANYBODY, worker.pubkey):
                for tier in Tier:
                    lane = self._lanes.get((whose, job_type, model, tier))
                    job = lane.head() if lane else None
                    if job is None:
                        continue
                    rank = job.waiting_since + (self._ageing if tier is Tier.CHEAP else 0)
                    if best is None or rank < best_rank:
                        best, best_rank = job, rank
        return best

    def heads(self) -> list[LiveJob]:
        """The first job of every lane: if none of them can be placed, no job can."""
        return [job for lane in self._lanes.values() if (job := lane.head()) is not None]

    def private_jobs_of(self, user_id: str) -> list[LiveJob]:
        """A user's waiting PRIVATE jobs, in the order in which they came."""
        return list(self._private_by_user.get(user_id, {}).values())

    def _leave(self, job: LiveJob, *, turn_used: bool) -> None:
        job.waiting = False
        for key in self._lanes_of(job):
            lane = self._lanes[key]
            (lane.take if turn_used else lane.remove)(job.user_id, job.job_id)
            if not lane:
                del self._lanes[key]
        if job.private:
            mine = self._private_by_user[job.user_id]
            del mine[job.job_id]
            if not mine:
                del self._private_by_user[job.user_id]

    @staticmethod
    def _lanes_of(job: LiveJob) -> Iterator[_Lane]:
        job_type, model = job.demand
        for whose in job.trusted if job.private else (_ANYBODY,):
            yield (whose, job_type, model, job.tier)
