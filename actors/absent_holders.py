"""Jobs that are held by a worker whose connection is away: they wait for it to come back."""

from __future__ import annotations

from compute_router.actors.live import LiveJob


class AbsentHolders:
    """The waiting jobs of each key."""

    def __init__(self) -> None:
        self._jobs: dict[str, dict[str, LiveJob]] = {}

    def add(self, job: LiveJob) -> None:
        """Have a job wait for the key that holds it."""
        assert job.worker_pubkey is not None
        self._jobs.setdefault(job.worker_pubkey, {})[job.job_id] = job

    def discard(self, job: LiveJob) -> None:
        """Have a job wait no more, if it does."""
        pubkey = job.worker_pubkey
        waiting = None if pubkey is None else self._jobs.get(pubkey)
        if pubkey is not None and waiting is not None:
            waiting.pop(job.job_id, None)
            if not waiting:
                del self._jobs[pubkey]

    def of(self, pubkey: str) -> list[LiveJob]:
        """The jobs that wait for a key, in the order in which they began to."""
        return list(self._jobs.get(pubkey, {}).values())
