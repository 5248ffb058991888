"""Stopping a job from another thread, and the check points where tasks look for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compute_router.worker.executors.classify import SentimentClassifier
from compute_router.worker.executors.extract_json import extract_json
from compute_router.worker.executors.summarize import summarize
from compute_router.worker.stopping import CheckPoint, JobStoppedError, StopSign

LONG = 2**18


def test_a_job_goes_on_until_its_sign_is_raised() -> None:
    sign = StopSign()
    sign.check()
    sign.stop()
    for _ in range(2):
        with pytest.raises(JobStoppedError):
            sign.check()


def test_a_wait_is_interrupted_by_the_stop() -> None:
    sign, woken = StopSign(), list[str]()
    with sign.waking(lambda: woken.append("up")):
        sign.stop()
    assert woken == ["up"]


def test_a_wait_that_is_over_is_not_interrupted() -> None:
    sign, woken = StopSign(), list[str]()
    with sign.waking(lambda: woken.append("up")):
        pass
    sign.stop()
    assert woken == []


def test_a_wait_does_not_begin_after_the_stop() -> None:
    sign = StopSign()
    sign.stop()
    with pytest.raises(JobStoppedError), sign.waking(lambda: None):
        pytest.fail("the wait began")


class StopsAt:
    """A check point that stops the job when it is passed for the n-th time."""

    def __init__(self, number: int) -> None:
        self.passed = 0
        self._number = number

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self._number:
            raise JobStoppedError("The job was stopped.")


@pytest.mark.parametrize("number", [1, 50])
@pytest.mark.parametrize(
    ("task", "text"),
    [
        (summarize, "The river rose. " * (LONG // 16)),
        (SentimentClassifier().classify, "It is good. " * (LONG // 12)),
        (extract_json, "[" * LONG),
        (extract_json, "[" + "1," * (LONG // 2)),
        (extract_json, "[1] " * (LONG // 4)),
    ],
    ids=["summarize", "classify", "nested brackets", "one long array", "many arrays"],
)
def test_a_long_task_ends_at_the_check_point_where_it_is_stopped(
    task: Callable[[str, CheckPoint], object], text: str, number: int
) -> None:
    check = StopsAt(number)
    with pytest.raises(JobStoppedError):
        task(text, check)
    assert check.passed == number
