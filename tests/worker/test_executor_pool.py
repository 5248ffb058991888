"""Which executor gets a job, while others still stop."""

from __future__ import annotations

from typing import Any

import pytest

from compute_router.protocol.jobs import JobType
from compute_router.worker.executor_pool import ExecutorPool
from compute_router.worker.jobs import Assignment, AttemptKey
from compute_router.worker.stopping import JobStoppedError


class RecordingRef:
    """A mailbox that nobody empties."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def tell(self, message: Any) -> None:
        self.told.append(message)

    @property
    def jobs(self) -> list[str]:
        return [execute.assignment.key.job_id for execute in self.told]


def key(job: str) -> AttemptKey:
    return AttemptKey(job, 1)


def task(job: str) -> Assignment:
    return Assignment(key(job), JobType.TASK, b"{}")


def test_a_stopped_job_is_told_to_stop_and_its_executor_takes_the_next() -> None:
    executor = RecordingRef()
    pool = ExecutorPool([executor], RecordingRef())
    pool.run(task("a"))
    pool.stop(key("a"))
    with pytest.raises(JobStoppedError):
        executor.told[0].stop.check()
    pool.run(task("b"))
    assert executor.jobs == ["a", "b"]
    executor.told[1].stop.check()


def test_the_end_of_a_stopped_job_does_not_free_the_executor_of_the_next() -> None:
    executor, other = RecordingRef(), RecordingRef()
    pool = ExecutorPool([other, executor], RecordingRef())
    pool.run(task("a"))
    pool.run(task("held"))
    pool.stop(key("a"))
    pool.run(task("b"))
    assert not pool.free(key("a"))
    assert pool.free(key("held"))
    pool.run(task("c"))
    assert (executor.jobs, other.jobs) == (["a", "b"], ["held", "c"])


def test_an_idle_executor_is_taken_before_one_that_still_stops() -> None:
    first, second = RecordingRef(), RecordingRef()
    pool = ExecutorPool([second, first], RecordingRef())
    pool.run(task("a"))
    pool.stop(key("a"))
    pool.run(task("b"))
    assert (first.jobs, second.jobs) == (["a"], ["b"])


def test_an_executor_that_has_stopped_is_taken_before_one_that_still_stops() -> None:
    first, second = RecordingRef(), RecordingRef()
    pool = ExecutorPool([second, first], RecordingRef())
    pool.run(task("a"))
    pool.run(task("b"))
    pool.stop(key("a"))
    pool.stop(key("b"))
    assert not pool.free(key("b"))
    pool.run(task("c"))
    assert (first.jobs, second.jobs) == (["a"], ["b", "c"])


def test_two_jobs_stopped_on_one_executor_end_one_after_the_other() -> None:
    executor = RecordingRef()
    pool = ExecutorPool([executor], RecordingRef())
    for job in ("a", "b"):
        pool.run(task(job))
        pool.stop(key(job))
    assert not pool.free(key("a"))
    assert not pool.free(key("b"))
    pool.run(task("c"))
    assert pool.free(key("c"))


def test_everything_can_be_stopped_at_once() -> None:
    executors = [RecordingRef(), RecordingRef()]
    pool = ExecutorPool(executors, RecordingRef())
    pool.run(task("a"))
    pool.run(task("b"))
    pool.stop_all()
    for executor in executors:
        with pytest.raises(JobStoppedError):
            executor.told[0].stop.check()
