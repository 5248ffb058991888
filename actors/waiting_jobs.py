"""Jobs that wait for a worker, indexed by what a worker can offer.

A job stands in one lane if any worker may have it, or in one lane for each trusted key if it is
private. Sealed jobs have lanes of their own, because a key may be trusted whose worker cannot open them.
A freed worker looks at the heads of its own lanes and at nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from compute_router.actors.clock import SteadyMs
from compute_router.actors.fair_queue import FairQueue
from compute_router.actors.live import LiveJob, LiveWorker
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.units import DurationMs

_ANYBODY = ""
_NEVER = SteadyMs(-(1 << 62))
_Lane = tuple[str, JobType, str | None, Tier]


class _User:
    """How many jobs a user has in each lane, and when one of them last left the line for a worker."""

    __slots__ = ("lanes", "last_turn")

    def __init__(self) -> None:
        self.lanes: dict[_Lane, int] = {}
        self.last_turn = _NEVER


class WaitingJobs:
    """All waiting jobs. FAST goes before CHEAP, unless the CHEAP job waited ``ageing`` longer.

    Users take turns, whatever lanes their jobs stand in: who had a turn goes behind the others in every
    lane. Between lanes of one tier, the user goes first who has waited longest since the job came or since
    that user's last turn.
    """

    def __init__(self, ageing: DurationMs) -> None:
        self._ageing = ageing
        self._lanes: dict[_Lane, FairQueue[LiveJob]] = {}
        self._users: dict[str, _User] = {}
        self._keys_awaited: Counter[str] = Counter()

    def add(self, job: LiveJob, *, first: bool = False) -> None:
        """Have a job wait; ``first`` puts it before the user's other jobs."""
        job.waiting = True
        for key in self._lanes_of(job):
            lane = self._lanes.setdefault(key, FairQueue())
            (lane.push_first if first else lane.push)(job.user_id, job.job_id, job)
            user = self._users.get(job.user_id)
            if user is None:
                user = self._users[job.user_id] = _User()
            user.lanes[key] = user.lanes.get(key, 0) + 1
        if job.private:
            self._keys_awaited.update(job.trusted)

    def take(self, job: LiveJob, now: SteadyMs) -> None:
        """Take a job out because it gets its worker."""
        user = self._users[job.user_id]
        user.last_turn = now
        self.remove(job)
        for key in user.lanes:
            self._lanes[key].pass_turn(job.user_id)

    def remove(self, job: LiveJob) -> None:
        """Take a job out; that uses up no turn."""
        job.waiting = False
        for key in self._lanes_of(job):
            self._leave(job, key)
        if job.private:
            for pubkey in job.trusted:
                self._keys_awaited[pubkey] -= 1
                if not self._keys_awaited[pubkey]:
                    del self._keys_awaited[pubkey]

    def best_for(self, worker: LiveWorker) -> LiveJob | None:
        """The job that a free worker should run next."""
        fast, cheap = self._next(worker, Tier.FAST), self._next(worker, Tier.CHEAP)
        if fast is None or cheap is None:
            return fast or cheap
        return cheap if cheap.waiting_since + self._ageing < fast.waiting_since else fast

    def heads(self) -> list[LiveJob]:
        """The first job of every lane: if none of them can be placed, no job can."""
        return [job for lane in self._lanes.values() if (job := lane.head()) is not None]

    def _next(self, worker: LiveWorker, tier: Tier) -> LiveJob | None:
        best: LiveJob | None = None
        best_rank = (0, 0)
        lanes = self._open_to(worker)
        for job_type, model in worker.demands:
            for whose in lanes:
                lane = self._lanes.get((whose, job_type, model, tier))
                job = lane.head() if lane else None
                if job is None:
                    continue
                last_turn = self._users[job.user_id].last_turn
                rank = (max(job.waiting_since, last_turn), last_turn)
                if best is None or rank < best_rank:
                    best, best_rank = job, rank
        return best

    def _open_to(self, worker: LiveWorker) -> tuple[str, ...]:
        if worker.pubkey not in self._keys_awaited:
            return (_ANYBODY,)
        plain = (worker.pubkey,) if worker.vouched_for else ()
        sealed = (_sealed_for(worker.pubkey),) if worker.seals else ()
        return (_ANYBODY, *plain, *sealed)

    def _leave(self, job: LiveJob, key: _Lane) -> None:
        lane, user = self._lanes[key], self._users[job.user_id]
        lane.remove(job.user_id, job.job_id)
        if not lane:
            del self._lanes[key]
        user.lanes[key] -= 1
        if not user.lanes[key]:
            del user.lanes[key]
            if not user.lanes:
                del self._users[job.user_id]

    @staticmethod
    def _lanes_of(job: LiveJob) -> Iterator[_Lane]:
        job_type, model = job.demand
        if not job.private:
            yield (_ANYBODY, job_type, model, job.tier)
            return
        for pubkey in job.trusted:
            whose = _sealed_for(pubkey) if job.sealed else pubkey
            yield (whose, job_type, model, job.tier)


def _sealed_for(pubkey: str) -> str:
    return f"sealed:{pubkey}"
