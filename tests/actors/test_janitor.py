"""What is too old is deleted, a little at a time."""

from __future__ import annotations

import pytest

from compute_router.actors.janitor import BATCH, KEY_LIFETIME, Janitor
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.janitor import CleanUp
from compute_router.actors.messages.job_store import Deleted, DeleteFinished, ForgetCodes, ForgetKeys
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.store_requests import handle
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import IdempotencyKey
from tests.actors.samples import NOON, a_job
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import RecordingRef, Stepped, mailbox
from tests.storage.memory_store import MemoryStore, Tables

HOUR = DurationMs(3_600_000)
DAY = DurationMs(24 * HOUR)


class SteppedJanitor(Stepped, Janitor):
    pass


class Desk:
    """A janitor, and a store that does what it asks when the test says so."""

    def __init__(self, keep: DurationMs | None) -> None:
        self.store, self.scheduler = RecordingRef(), RecordingRef()
        self.clock = FakeClock()
        self.disk = MemoryStore(Tables())
        self.ref = SteppedJanitor.start(pytest.fail, self.clock, self.store, self.scheduler, keep)

    def tell(self, message: object) -> None:
        self.ref.tell(message)
        mailbox(self.ref).step()

    def come_again(self) -> int:
        """After how many milliseconds it wants to clean up again."""
        (armed,) = self.scheduler.take()
        assert armed.timer.message == CleanUp()
        return int(armed.timer.delay)

    def requests(self) -> list[Message]:
        """What it asked of the store."""
        asked = self.store.take()
        assert all(isinstance(request, StoreRequest) for request in asked)
        return [request.body for request in asked]

    def clean_up(self) -> tuple[int, int]:
        """One batch: the jobs and keys deleted by it."""
        self.tell(CleanUp())
        counts = {}
        for request in self.requests():
            with self.disk.transaction():
                deleted = handle(self.disk, self.clock, request)
            counts[type(request)] = deleted.count
            self.tell(deleted)
        return counts[DeleteFinished], counts[ForgetKeys]

    def finished(self, *job_ids: str) -> None:
        """Jobs that were committed with a key and ended now."""
        now = self.clock.unix_ms()
        for job_id in job_ids:
            with self.disk.transaction():
                self.disk.insert_job(a_job(job_id), IdempotencyKey(job_id, "0" * 64))
                self.disk.fail_job(job_id, 0, b"{}", now)

    def kept(self, job_id: str) -> bool:
        return self.disk.job_view(job_id) is not None

    def key_kept(self, job_id: str) -> bool:
        return self.disk.find_replay("alice", IdempotencyKey(job_id, "0" * 64)) is not None


def test_it_begins_soon_after_the_start() -> None:
    assert Desk(None).come_again() <= 1_000


def test_jobs_are_deleted_when_they_ended_too_long_ago_and_not_before() -> None:
    desk = Desk(keep=DAY)
    desk.finished("old")
    desk.clock.advance(DAY)
    desk.clean_up()
    assert desk.kept("old")
    desk.clock.advance(1)
    desk.finished("new")
    desk.clean_up()
    assert not desk.kept("old")
    assert desk.kept("new")


def test_without_a_time_to_keep_jobs_for_nothing_is_deleted_but_keys() -> None:
    desk = Desk(keep=None)
    desk.finished("old")
    desk.clock.advance(1000 * DAY)
    assert desk.clean_up() == (0, 1)
    assert desk.kept("old")


def test_unfinished_jobs_are_never_deleted() -> None:
    desk = Desk(keep=HOUR)
    with desk.disk.transaction():
        desk.disk.insert_job(a_job("waits"))
    desk.clock.advance(1000 * DAY)
    desk.clean_up()
    assert desk.kept("waits")


def test_keys_live_for_a_day() -> None:
    assert KEY_LIFETIME == DAY
    desk = Desk(keep=None)
    desk.finished("job")
    desk.clock.advance(DAY)
    desk.clean_up()
    assert desk.key_kept("job")
    desk.clock.advance(1)
    desk.clean_up()
    assert not desk.key_kept("job")


def test_codes_that_died_long_ago_are_forgotten_in_batches_too() -> None:
    desk = Desk(keep=None)
    desk.come_again()
    with desk.disk.transaction():
        for number in range(BATCH + 1):
            desk.disk.create_pairing(f"user-{number}", f"CODE{number}", NOON, UnixMs(NOON + HOUR))
    desk.clock.advance(2 * DAY)
    left = []
    for _ in range(2):
        desk.clean_up()
        left.append(
            (sum(desk.disk.open_codes(f"user-{n}", NOON) for n in range(BATCH + 1)), desk.come_again())
        )
    assert [count for count, _ in left] == [1, 0]
    assert left[0][1] < 1_000 < left[1][1]


def test_keys_do_not_outlive_the_jobs_they_stand_for() -> None:
    desk = Desk(keep=HOUR)
    desk.finished("job")
    desk.clock.advance(HOUR + 1)
    assert desk.clean_up() == (1, 1)
    assert not desk.kept("job")
    assert not desk.key_kept("job")


def test_much_is_deleted_in_batches_with_pauses_in_between_until_nothing_is_left() -> None:
    desk = Desk(keep=HOUR)
    desk.come_again()
    desk.finished(*(f"job-{number}" for number in range(2 * BATCH + 1)))
    desk.clock.advance(HOUR + 1)
    pauses = []
    batches = []
    for _ in range(3):
        batches.append(desk.clean_up())
        pauses.append(desk.come_again())
    assert batches == [(BATCH, BATCH), (BATCH, BATCH), (1, 1)]
    assert pauses[0] == pauses[1] < 1_000
    assert pauses[2] >= 60_000


def test_the_next_batch_waits_for_the_answer_to_the_last() -> None:
    desk = Desk(keep=HOUR)
    desk.come_again()
    desk.tell(CleanUp())
    _, keys, jobs = desk.requests()
    assert desk.scheduler.take() == []
    assert isinstance(keys, ForgetKeys)
    desk.tell(Deleted(keys, BATCH))
    assert desk.scheduler.take() == []
    assert isinstance(jobs, DeleteFinished)
    desk.tell(Deleted(jobs, 0))
    assert desk.come_again() < 1_000, "there may be more keys"


@pytest.mark.parametrize("step", [-7 * HOUR, -365 * DAY])
def test_a_wall_clock_that_steps_back_deletes_nothing_early(step: int) -> None:
    desk = Desk(keep=HOUR)
    desk.finished("job")
    desk.clock.step_wall(step)
    desk.clean_up()
    desk.clock.advance(HOUR)
    desk.clean_up()
    assert desk.kept("job")
    assert desk.key_kept("job")


def test_what_is_asked_for_is_never_more_than_a_batch() -> None:
    desk = Desk(keep=DAY)
    desk.tell(CleanUp())
    assert desk.requests() == [
        ForgetCodes(BATCH),
        ForgetKeys(UnixMs(NOON - DAY), BATCH),
        DeleteFinished(UnixMs(NOON - DAY), BATCH),
    ]


def test_an_unknown_message_is_a_mistake() -> None:
    desk = Desk(None)
    answer = desk.ref.ask(DeleteFinished(UnixMs(0), 1), block=False)
    mailbox(desk.ref).step()
    with pytest.raises(TypeError, match="DeleteFinished"):
        answer.get()
