"""An asyncio loop in a thread of its own, for sockets and timers of actors that have threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final

from compute_router.protocol.units import DurationMs

_STOP_SECONDS: Final = 5.0


class LoopThread:
    """Its methods may be called from any thread, :meth:`stop` not from the loop's own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="worker-loop", daemon=True)

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel what still runs on the loop, end the loop and join its thread."""
        self.submit(_cancel_all_others()).result(_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        self._loop.close()

    def submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, action: Callable[[], None]) -> None:
        """Run a function on the loop, soon. Calls keep their order."""
        self._loop.call_soon_threadsafe(action)

    def call_later(self, delay: DurationMs, action: Callable[[], None]) -> None:
        """Run a function on the loop after a delay; not at all if the loop ends before."""
        self.call(lambda: self._call_later_here(delay, action))

    def _call_later_here(self, delay: DurationMs, action: Callable[[], None]) -> None:
        self._loop.call_later(delay / 1000, action)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


async def _cancel_all_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
