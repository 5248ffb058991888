"""Requests that wait for a job to end (long polls), or follow it step by step (event streams)."""

from __future__ import annotations

import asyncio
from typing import Final

from compute_router.actors.messages.edge import Chunk, Progress
from compute_router.storage.interface import JobView

_MAX_UNREAD_STEPS: Final = 256
_MAX_UNREAD_BYTES: Final = 1024 * 1024


class Follower:
    """One event stream's line of steps. A reader that falls too far behind is cut off."""

    def __init__(self) -> None:
        self._steps: asyncio.Queue[Progress | Chunk | JobView | None] = asyncio.Queue(_MAX_UNREAD_STEPS)
        self._unread_bytes = 0
        self.cut_off = False

    def put(self, step: Progress | Chunk | JobView | None) -> None:
        """Add a step; None ends the stream."""
        size = _size(step)
        if self._steps.full() or self._unread_bytes + size > _MAX_UNREAD_BYTES:
            self.cut_off = True
        if not self.cut_off:
            self._unread_bytes += size
            self._steps.put_nowait(step)

    def end(self) -> None:
        """End the stream without what was not taken yet."""
        while not self._steps.empty():
            self._steps.get_nowait()
        self._unread_bytes = 0
        self._steps.put_nowait(None)

    async def next(self, seconds: float) -> Progress | Chunk | JobView | None:
        """The next step.

        Raises:
            TimeoutError: none came in that time.
        """
        async with asyncio.timeout(seconds):
            step = await self._steps.get()
        self._unread_bytes -= _size(step)
        return step


def _size(step: Progress | Chunk | JobView | None) -> int:
    # Only pieces of output can be both large and many; the finished job comes once.
    return len(step.delta) if isinstance(step, Chunk) else 0


class JobWatch:
    """Maps unfinished jobs to the requests that watch them. Lives on the event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[JobView | None]]] = {}
        self._followers: dict[str, set[Follower]] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._followers)

    def follow(self, job_id: str) -> Follower:
        """Start to follow a job."""
        follower = Follower()
        self._followers.setdefault(job_id, set()).add(follower)
        return follower

    def unfollow(self, job_id: str, follower: Follower) -> None:
        """Stop to follow; harmless when the job has ended."""
        followers = self._followers.get(job_id)
        if followers is not None:
            followers.discard(follower)
            if not followers:
                del self._followers[job_id]

    def progress(self, step: Progress | Chunk) -> None:
        """A job moved on: tell all who follow it."""
        for follower in self._followers.get(step.job_id, ()):
            follower.put(step)

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

    def release(self, future: asyncio.Future[JobView | None]) -> None:
        """End one wait before its time; harmless when the job has ended."""
        _give_up(future)

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
        for follower in self._followers.pop(view.job_id, ()):
            follower.put(view)

    def release_all(self) -> None:
        """Let every waiting request answer with what is known now, because the coordinator stops."""
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        self._waiting.clear()
        for followers in self._followers.values():
            for follower in followers:
                follower.put(None)
        self._followers.clear()


def _give_up(future: asyncio.Future[JobView | None]) -> None:
    if not future.done():
        future.set_result(None)
