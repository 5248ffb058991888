"""Which executor runs which attempt."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from compute_router.worker.execution import Execute, Recipient
from compute_router.worker.jobs import Assignment, AttemptKey
from compute_router.worker.stopping import StopSign


class _Run(msgspec.Struct, frozen=True):
    executor: Recipient
    stop: StopSign


class ExecutorPool:
    """As many executors as the worker has slots.

    An executor whose job is being stopped counts as free: a job that it is given waits in its mailbox for
    the moment that stopping takes. Executors without such a moment before them are taken first.
    """

    def __init__(self, executors: Sequence[Recipient], report_to: Recipient) -> None:
        """``report_to`` is told what comes of the jobs."""
        self._report_to = report_to
        self._free = list(executors)
        self._runs: dict[AttemptKey, _Run] = {}
        self._stopping: dict[AttemptKey, Recipient] = {}

    def run(self, assignment: Assignment) -> None:
        """Have a job run. There must be fewer jobs than executors, not counting those being stopped."""
        run = _Run(self._free.pop(), StopSign())
        self._runs[assignment.key] = run
        run.executor.tell(Execute(assignment, run.stop, self._report_to))

    def stop(self, key: AttemptKey) -> None:
        """Stop a job that runs; :meth:`free` still follows."""
        run = self._runs.pop(key)
        run.stop.stop()
        self._stopping[key] = run.executor
        self._free.insert(0, run.executor)

    def free(self, key: AttemptKey) -> bool:
        """The executor of an attempt is done with it. Returns whether the attempt was not being stopped."""
        run = self._runs.pop(key, None)
        if run is not None:
            self._free.append(run.executor)
            return True
        executor = self._stopping.pop(key)
        if executor in self._free and executor not in self._stopping.values():
            self._free.remove(executor)
            self._free.append(executor)
        return False

    def stop_all(self) -> None:
        """Stop every job."""
        for run in self._runs.values():
            run.stop.stop()
