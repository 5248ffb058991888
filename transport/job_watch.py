"""Long polls: requests that wait for a job to end."""

from __future__ import annotations

import asyncio

from compute_router.storage.interface import JobView


class JobWatch:
    """Maps unfinished jobs to the requests that wait for them. Lives on the event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[JobView | None]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, job_id: str) -> asyncio.Future[JobView | None]:
        """Start to wait. The future gets the finished job, or None when all waiting is over."""
        future: asyncio.Future[JobView | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(future)
        return future

    async def ended(self, future: asyncio.Future[JobView | None], seconds: float) -> JobView | None:
        """The finished job, or None after so many seconds."""
        if future.done():
            return future.result()
        give_up = future.get_loop().call_later(seconds, _give_up, future)
        try:
            return await future
        finally:
            give_up.cancel()

    def unwatch(self, job_id: str, future: asyncio.Future[JobView | None]) -> None:
        """Stop to wait; harmless when the job has ended."""
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[job_id]

    def publish(self, view: JobView) -> None:
        """A job ended: give it to all who wait for it."""
        for future in self._waiting.pop(view.job_id, ()):
            if not future.done():
                future.set_result(view)

    def release_all(self) -> None:
        """Let every waiting request answer with what is known now, because the coordinator stops."""
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        self._waiting.clear()


def _give_up(future: asyncio.Future[JobView | None]) -> None:
    if not future.done():
        future.set_result(None)
