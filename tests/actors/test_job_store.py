"""The actor that owns the database: batches, answers after the commit, and what a failure does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pykka
import pytest

from compute_router.actors.job_store import Answer, JobStore
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import (
    AssignmentRecorded,
    FindReplay,
    GetJob,
    InsertJob,
    JobEnded,
    KeepReceipt,
    RecordAssigned,
    RecordFailed,
    RecordStarted,
)
from compute_router.actors.messages.matcher import IsLive
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.stored_trust import ClaimPairing, CreatePairing, ListPairings
from compute_router.actors.runtime import LoopFuture
from compute_router.protocol.errors import StorageUnavailableError
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import IdempotencyKey, JobView
from tests.actors.samples import a_job, key
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import Mailbox, RecordingRef, Stepped, mailbox
from tests.storage.memory_store import BrokenConstraintError, MemoryStore, Tables

LEASE = DurationMs(20_000)
KEY = IdempotencyKey("key", "0" * 64)


class StoreMailbox(Mailbox):
    """Its half second without mail is over when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet = False

    def quiet_moment(self) -> None:
        """No mail has come for as long as a store waits that cannot write."""
        self._quiet = True
        self.run()

    def get_within(self, seconds: float) -> Any:
        if self.empty() and self._quiet:
            self._quiet = False
            return None
        return self.get()


class SteppedJobStore(Stepped, JobStore):
    @staticmethod
    def _create_actor_inbox() -> Any:
        return StoreMailbox()


class Disk(MemoryStore):
    """A store that counts its commits, and that can be broken."""

    def __init__(self) -> None:
        super().__init__(Tables())
        self.commits = 0
        self.tries = 0
        self.closed = 0
        self.broken_for: Callable[[], bool] = lambda: False
        self.unreadable = False
        self.poison: str | None = None

    def start_job(self, job_id: str, attempt: int) -> bool:
        if job_id == self.poison:
            raise ValueError(f"{job_id} cannot be done")
        return super().start_job(job_id, attempt)

    def job_view(self, job_id: str) -> JobView | None:
        if self.unreadable:
            raise StorageUnavailableError("The disk does not read.")
        return super().job_view(job_id)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.tries += 1
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
        self.clock = FakeClock()
        self.problems: list[str | None] = []
        self.ref = SteppedJobStore.start(
            self.deaths.append,
            lambda: self.disk,
            self.clock,
            self._post,
            self._on_stopped,
            self.problems.append,
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

    def quiet_moment(self) -> None:
        inbox = mailbox(self.ref)
        assert isinstance(inbox, StoreMailbox)
        inbox.quiet_moment()

    def with_a_job(self) -> Desk:
        """A job waits; the commits so far are forgotten."""
        self.ask(InsertJob(a_job()))
        self.run()
        self.disk.commits = self.disk.tries = 0
        self.posts.clear()
        return self

    def broken(self) -> Desk:
        """The disk cannot be written from now on."""
        self.disk.broken_for = lambda: True
        return self

    def repaired(self) -> Desk:
        """The disk can be written again, but the store has not noticed."""
        self.disk.broken_for = lambda: False
        return self

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
    desk.repaired().quiet_moment()
    again = desk.ask(InsertJob(a_job("one")))
    desk.run()
    assert again.get() == ()
    assert desk.deaths == []


def test_a_decision_of_an_actor_that_cannot_be_done_ends_the_store_and_is_told(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk().with_a_job()
    desk.disk.poison = "job"
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.tell(RecordStarted("job", 1))
    desk.run()
    assert [str(death) for death in desk.deaths] == ["job cannot be done"]
    assert not desk.ref.is_alive()
    assert [type(answer) for answer in desk.asker.told] == [AssignmentRecorded]
    assert (desk.disk.closed, desk.stopped) == (1, 1)
    assert len(expected_errors) == 1


def test_whoever_asked_a_store_that_ends_gets_an_error_and_never_waits_for_ever(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk().with_a_job()
    desk.disk.poison = "job"
    before = desk.ask(InsertJob(a_job("before")))
    desk.tell(RecordStarted("job", 1))
    behind = desk.ask(InsertJob(a_job("behind")))
    stop = desk.ref.stop(block=False)
    later = desk.ask(InsertJob(a_job("later")))
    desk.run()
    assert before.get() == ()
    for future in (behind, later):
        with pytest.raises(pykka.ActorDeadError):
            future.get()
    assert stop.get() is False
    assert desk.stopped == 1
    assert len(expected_errors) == 1


# While the disk cannot be written


def test_decisions_of_actors_are_held_and_announced_in_their_order_when_they_are_stored() -> None:
    desk = Desk().with_a_job().broken()
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.tell(RecordStarted("job", 1))
    desk.run()
    desk.tell(RecordFailed("job", 1, b"{}"))
    desk.run()
    assert desk.asker.told == []
    assert desk.status("job") is JobStatus.PENDING
    desk.repaired().quiet_moment()
    assert [type(answer) for answer in desk.asker.take()] == [AssignmentRecorded, JobEnded]
    assert desk.status("job") is JobStatus.FAILED
    assert desk.disk.commits == 1
    assert desk.deaths == []


def test_the_problem_is_reported_once_and_taken_back_when_it_is_over() -> None:
    desk = Desk().with_a_job().broken()
    for _ in range(3):
        desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
        desk.run()
    desk.quiet_moment()
    assert desk.problems == ["The disk is full."]
    desk.repaired().quiet_moment()
    assert desk.problems == ["The disk is full.", None]


def test_an_outage_that_only_a_commit_noticed_is_over_without_another_commit() -> None:
    desk = Desk().broken()
    refused = desk.ask(InsertJob(a_job()))
    desk.run()
    with pytest.raises(StorageUnavailableError):
        refused.get()
    desk.repaired().quiet_moment()
    assert desk.problems == ["The disk is full.", None]


def test_whoever_reads_is_answered_and_whoever_writes_is_refused() -> None:
    desk = Desk().with_a_job().broken()
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    reads = [desk.ask(GetJob("job")), desk.ask(FindReplay("alice", KEY)), desk.ask(ListPairings("alice"))]
    writes = [
        desk.ask(InsertJob(a_job("late"))),
        desk.ask(CreatePairing("alice", "CODE", UnixMs(0), UnixMs(1))),
        desk.ask(ClaimPairing("CODE", key("a"), UnixMs(0))),
    ]
    desk.run()
    assert [read.get() for read in reads[1:]] == [None, ()]
    assert reads[0].get().status is JobStatus.PENDING, "nothing is shown before it is stored"
    for write in writes:
        with pytest.raises(StorageUnavailableError):
            write.get()
    assert desk.asker.told == []


def test_a_disk_that_cannot_even_be_read_refuses_reads() -> None:
    desk = Desk().with_a_job().broken()
    desk.disk.unreadable = True
    desk.tell(RecordStarted("job", 1))
    read = desk.ask(GetJob("job"))
    desk.run()
    with pytest.raises(StorageUnavailableError):
        read.get()
    assert desk.ref.is_alive()


def test_a_receipt_that_comes_alone_during_an_outage_is_refused_and_not_held() -> None:
    desk = Desk().with_a_job().broken()
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.tell(KeepReceipt(7, key("a"), b"{}", "c2ln"))
    desk.run()
    (refusal,) = desk.asker.take()
    assert (refusal.worker_id, refusal.frame.code) == (7, "STORAGE_UNAVAILABLE")
    desk.repaired().quiet_moment()
    assert [type(answer) for answer in desk.asker.take()] == [AssignmentRecorded]


def test_what_is_refused_during_an_outage_is_not_stored_after_it() -> None:
    desk = Desk().broken()
    refused = desk.ask(InsertJob(a_job()))
    desk.run()
    assert refused.done()
    desk.repaired().quiet_moment()
    assert desk.status("job") is None


def test_much_mail_does_not_make_it_try_more_than_twice_a_second() -> None:
    desk = Desk().with_a_job().broken()
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.run()
    assert desk.disk.tries == 1
    for _ in range(100):
        desk.ask(GetJob("job"))
        desk.run()
        desk.clock.advance(10)
    assert desk.disk.tries == 1 + 1
    desk.clock.advance(490)
    desk.repaired().ask(GetJob("job"))
    desk.run()
    assert desk.status("job") is JobStatus.ASSIGNED


def test_a_held_decision_that_cannot_be_done_ends_the_store_and_not_those_before_it(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk().with_a_job().broken()
    desk.disk.poison = "job"
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.tell(RecordStarted("job", 1))
    desk.tell(RecordFailed("job", 1, b"{}"))
    desk.run()
    desk.repaired().quiet_moment()
    assert [type(answer) for answer in desk.asker.told] == [AssignmentRecorded]
    assert [str(death) for death in desk.deaths] == ["job cannot be done"]
    assert desk.status("job") is JobStatus.ASSIGNED
    assert desk.stopped == 1
    assert len(expected_errors) == 1


def test_a_request_from_the_edge_that_cannot_be_done_hurts_nobody_when_the_outage_begins_with_it(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk().with_a_job()
    twice = desk.ask(InsertJob(a_job()))
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    fails = iter([True])
    desk.disk.broken_for = lambda: next(fails, False)
    desk.run()
    with pytest.raises(BrokenConstraintError):
        twice.get()
    desk.quiet_moment()
    assert [type(answer) for answer in desk.asker.told] == [AssignmentRecorded]
    assert len(expected_errors) == 1


def test_an_outage_that_comes_back_holds_everything_again() -> None:
    desk = Desk().with_a_job().broken()
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.run()
    desk.repaired().quiet_moment()
    desk.broken().tell(RecordStarted("job", 1))
    desk.run()
    assert desk.status("job") is JobStatus.ASSIGNED
    desk.repaired().quiet_moment()
    assert desk.status("job") is JobStatus.RUNNING
    assert desk.problems == ["The disk is full.", None] * 2


def test_a_stop_during_an_outage_tries_once_more_and_stores_what_it_can() -> None:
    desk = Desk().with_a_job().broken()
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.run()
    stop = desk.repaired().ref.stop(block=False)
    desk.run()
    assert stop.get() is True
    assert desk.status("job") is JobStatus.ASSIGNED
    assert (desk.disk.closed, desk.stopped) == (1, 1)


def test_a_stop_during_an_outage_that_lasts_says_what_was_not_stored(
    expected_errors: list[logging.LogRecord],
) -> None:
    desk = Desk().with_a_job().broken()
    desk.tell(RecordAssigned("job", 1, key("a"), LEASE))
    desk.tell(RecordStarted("job", 1))
    stop = desk.ref.stop(block=False)
    late = desk.ask(GetJob("job"))
    desk.run()
    assert stop.get() is True
    with pytest.raises(pykka.ActorDeadError):
        late.get()
    assert desk.status("job") is JobStatus.PENDING
    assert desk.asker.told == []
    assert (desk.disk.closed, desk.stopped, desk.deaths) == (1, 1, [])
    (record,) = expected_errors
    assert record.getMessage().startswith("2 decisions could not be stored before the stop; ")


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
        SteppedJobStore.start(pytest.fail, refuse, FakeClock(), pytest.fail, pytest.fail, pytest.fail)
