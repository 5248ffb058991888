"""The actor that owns the database: batches, answers after the commit, and what a failure does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pykka
import pytest

from compute_router.actors.job_store import Answer, JobStore
from compute_router.actors.messages import (
    AssignmentRecorded,
    GetJob,
    InsertJob,
    IsLive,
    JobEnded,
    Message,
    RecordAssigned,
    RecordFailed,
    RecordStarted,
    StoreRequest,
)
from compute_router.actors.runtime import LoopFuture
from compute_router.protocol.errors import StorageUnavailableError
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.units import DurationMs
from tests.actors.samples import a_job, key
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import RecordingRef, Stepped, mailbox
from tests.storage.memory_store import BrokenConstraintError, MemoryStore, Tables

LEASE = DurationMs(20_000)


class SteppedJobStore(Stepped, JobStore):
    pass


class Disk(MemoryStore):
    """A store that counts its commits, and that can be broken."""

    def __init__(self) -> None:
        super().__init__(Tables())
        self.commits = 0
        self.closed = 0
        self.broken_for: Callable[[], bool] = lambda: False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
            if self.broken_for():
                raise StorageUnavailableError("The disk is full.")
        self.commits += 1

    def close(self) -> None:
        self.closed += 1


class Desk:
    """A job store; answers are delivered at once, and what was delivered is kept with the commits so far."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.deaths: list[BaseException] = []
        self.posts: list[tuple[int, int]] = []
        self.stopped = 0
        self.asker = RecordingRef()
        self.ref = SteppedJobStore.start(
            self.deaths.append, lambda: self.disk, FakeClock(), self._post, self._on_stopped
        )

    def _post(self, answers: Sequence[Answer]) -> None:
        self.posts.append((self.disk.commits, len(answers)))
        for answer in answers:
            answer.deliver()

    def _on_stopped(self) -> None:
        self.stopped += 1

    def ask(self, message: Message) -> LoopFuture[Any]:
        future = self.ref.ask(message, block=False)
        assert isinstance(future, LoopFuture)
        return future

    def tell(self, body: Message) -> None:
        self.ref.tell(StoreRequest(body, self.asker))

    def run(self) -> None:
        mailbox(self.ref).run()

    def status(self, job_id: str) -> JobStatus | None:
        view = self.disk.job_view(job_id)
        return None if view is None else view.status


def test_everything_that_waits_is_one_commit_and_one_hand_over() -> None:
    desk = Desk()
    answers = [desk.ask(InsertJob(a_job(str(number)))) for number in range(50)]
    desk.run()
    assert desk.posts == [(1, 50)]
    assert [answer.get() for answer in answers] == [()] * 50


def test_nothing_is_answered_before_the_commit() -> None:
    desk = Desk()
    answer = desk.ask(InsertJob(a_job()))
    seen: list[bool] = []

    def look() -> bool:
        seen.append(answer.done())
        return False

    desk.disk.broken_for = look
    desk.run()
    assert seen == [False]
    assert answer.done()


def test_requests_are_carried_out_in_the_order_in_which_they_came() -> None:
    desk = Desk()
    desk.ask(InsertJob(a_job()))
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.tell(RecordStarted("job", 1))
    desk.tell(RecordFailed("job", 1, b"{}"))
    view = desk.ask(GetJob("job"))
    desk.run()
    assert [type(answer) for answer in desk.asker.take()] == [AssignmentRecorded, JobEnded]
    assert view.get().status is JobStatus.FAILED


def test_an_answer_for_an_actor_that_is_gone_is_dropped() -> None:
    desk = Desk()
    desk.ask(InsertJob(a_job()))
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.asker.die()
    desk.run()
    assert desk.status("job") is JobStatus.ASSIGNED


def test_one_request_that_cannot_be_done_does_not_hurt_the_others(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk()
    desk.ask(InsertJob(a_job("first")))
    twice = desk.ask(InsertJob(a_job("first")))
    unknown = desk.ask(IsLive("first"))
    last = desk.ask(InsertJob(a_job("last")))
    desk.run()
    with pytest.raises(BrokenConstraintError):
        twice.get()
    with pytest.raises(TypeError, match="IsLive"):
        unknown.get()
    assert last.get() == ()
    assert desk.status("first") is desk.status("last") is JobStatus.PENDING
    assert desk.ref.is_alive()
    assert len(expected_errors) == 2


def test_whoever_asks_while_the_disk_fails_is_told_so_and_may_try_again() -> None:
    desk = Desk()
    desk.disk.broken_for = lambda: True
    answers = [desk.ask(InsertJob(a_job(job_id))) for job_id in ("one", "two")]
    desk.run()
    for answer in answers:
        with pytest.raises(StorageUnavailableError):
            answer.get()
    assert desk.status("one") is None
    desk.disk.broken_for = lambda: False
    again = desk.ask(InsertJob(a_job("one")))
    desk.run()
    assert again.get() == ()
    assert desk.deaths == []


def test_a_decision_of_an_actor_that_cannot_be_stored_ends_the_store_and_is_told(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk()
    desk.ask(InsertJob(a_job()))
    desk.run()
    desk.disk.broken_for = lambda: True
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.run()
    assert [type(death) for death in desk.deaths] == [StorageUnavailableError]
    assert not desk.ref.is_alive()
    assert desk.asker.told == []
    assert (desk.disk.closed, desk.stopped) == (1, 1)
    assert desk.status("job") is JobStatus.PENDING
    assert len(expected_errors) == 1


def test_whoever_asked_a_store_that_ends_gets_an_error_and_never_waits_for_ever(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk()
    desk.disk.broken_for = lambda: True
    before = desk.ask(InsertJob(a_job("before")))
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    behind = desk.ask(InsertJob(a_job("behind")))
    stop = desk.ref.stop(block=False)
    later = desk.ask(InsertJob(a_job("later")))
    desk.run()
    with pytest.raises(StorageUnavailableError):
        before.get()
    for future in (behind, later):
        with pytest.raises(pykka.ActorDeadError):
            future.get()
    assert stop.get() is False
    assert desk.stopped == 1
    assert len(expected_errors) == 1


def test_a_stop_lets_everything_before_it_reach_the_disk() -> None:
    desk = Desk()
    kept = desk.ask(InsertJob(a_job("kept")))
    stop = desk.ref.stop(block=False)
    late = desk.ask(InsertJob(a_job("late")))
    desk.run()
    assert kept.get() == ()
    assert stop.get() is True
    with pytest.raises(pykka.ActorDeadError):
        late.get()
    assert (desk.disk.closed, desk.stopped) == (1, 1)
    assert desk.status("kept") is JobStatus.PENDING
    assert desk.status("late") is None


def test_a_database_that_cannot_be_opened_is_no_store() -> None:
    def refuse() -> MemoryStore:
        raise StorageUnavailableError("no disk")

    with pytest.raises(StorageUnavailableError):
        SteppedJobStore.start(pytest.fail, refuse, FakeClock(), pytest.fail, pytest.fail)
