"""Registered connections, by their id and by the key they name."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from compute_router.actors.live import LiveJob, LiveWorker


class ConnectedWorkers:
    """Every registered connection. One key may hold several."""

    def __init__(self) -> None:
        self._by_id: dict[int, LiveWorker] = {}
        self._by_key: dict[str, dict[int, LiveWorker]] = {}
        self._ids: list[int] = []

    def __iter__(self) -> Iterator[LiveWorker]:
        return iter(self._by_id.values())

    def get(self, worker_id: int | None) -> LiveWorker | None:
        """A connection, or None if it is gone or was never there."""
        return None if worker_id is None else self._by_id.get(worker_id)

    def add(self, worker: LiveWorker) -> None:
        """Put a connection, in place of an earlier entry with its id and key."""
        if worker.worker_id not in self._by_id:
            insort(self._ids, worker.worker_id)
        self._by_id[worker.worker_id] = worker
        self._by_key.setdefault(worker.pubkey, {})[worker.worker_id] = worker

    def remove(self, worker: LiveWorker) -> None:
        """Forget a connection."""
        del self._by_id[worker.worker_id]
        del self._ids[bisect_left(self._ids, worker.worker_id)]
        same_key = self._by_key[worker.pubkey]
        del same_key[worker.worker_id]
        if not same_key:
            del self._by_key[worker.pubkey]

    def page(self, after: int, limit: int) -> list[LiveWorker]:
        """Up to ``limit`` connections, in the order of their ids, from the one behind ``after`` on.

        The cost depends on ``limit`` and not on how many there are.
        """
        start = bisect_right(self._ids, after)
        return [self._by_id[worker_id] for worker_id in self._ids[start : start + limit]]

    def with_key(self, pubkey: str) -> list[LiveWorker]:
        """All connections of one key."""
        return list(self._by_key.get(pubkey, {}).values())

    def trusted_with(self, job: LiveJob) -> list[LiveWorker]:
        """Connections that may run a PRIVATE job and are able to, free or not."""
        return [worker for pubkey in job.trusted for worker in self.with_key(pubkey) if worker.can_run(job)]
