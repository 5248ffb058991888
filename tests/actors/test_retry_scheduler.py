"""The actor that owns time."""

from __future__ import annotations

from collections.abc import Callable

import pykka
import pytest

from compute_router.actors.messages.matcher import IsLive, Sweep
from compute_router.actors.messages.timers import ArmTimer, CancelTimer, SetTimer, Tick
from compute_router.actors.retry_scheduler import RetryScheduler
from compute_router.protocol.units import DurationMs
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import RecordingRef, Stepped, mailbox


class SteppedScheduler(Stepped, RetryScheduler):
    pass


class Alarm:
    """Plays the loop's own timer: at most one call is due, and the test lets its time come."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.call: Callable[[], None] | None = None
        self.due: int | None = None

    def wake_up(self, delay: DurationMs, call: Callable[[], None]) -> Callable[[], None]:
        assert self.due is None, "two timers of the loop at once"
        assert delay >= 0
        self.due, self.call = self._clock.steady_ms() + delay, call
        return self.take_back

    def take_back(self) -> None:
        self.due = self.call = None

    def ring(self) -> None:
        """Let the time come for which it is set."""
        assert self.due is not None
        assert self.call is not None
        self._clock.advance(max(self.due - self._clock.steady_ms(), 0))
        call = self.call
        self.take_back()
        call()


class Desk:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.alarm = Alarm(self.clock)
        self.deaths: list[BaseException] = []
        self.ref = SteppedScheduler.start(self.deaths.append, self.clock, self.alarm.wake_up)
        self.target = RecordingRef()

    def set(self, key: str, delay: int, target: RecordingRef | None = None) -> None:
        self.ref.tell(ArmTimer(SetTimer(key, DurationMs(delay), IsLive(key)), target or self.target))
        mailbox(self.ref).run()

    def cancel(self, key: str) -> None:
        self.ref.tell(CancelTimer(key))
        mailbox(self.ref).run()

    def ring(self) -> list[str]:
        """Keys of the timers that went off."""
        self.alarm.ring()
        mailbox(self.ref).run()
        return [message.job_id for message in self.target.take()]


def test_a_message_is_told_when_its_time_has_come() -> None:
    desk = Desk()
    desk.set("a", 100)
    assert desk.alarm.due == 100
    assert desk.ring() == ["a"]
    assert desk.alarm.due is None


def test_one_timer_of_the_loop_serves_all_and_is_set_for_the_earliest() -> None:
    desk = Desk()
    for key, delay in (("b", 200), ("a", 100), ("c", 300)):
        desk.set(key, delay)
    assert [desk.ring(), desk.ring(), desk.ring()] == [["a"], ["b"], ["c"]]


def test_whatever_is_due_at_once_is_told_at_once() -> None:
    desk = Desk()
    desk.set("a", 100)
    desk.set("b", 100)
    desk.clock.advance(250)
    desk.set("c", 0)
    assert desk.ring() == ["a", "b", "c"]


def test_a_timer_that_is_set_again_takes_the_place_of_the_first() -> None:
    desk = Desk()
    desk.set("a", 100)
    desk.set("a", 300)
    assert desk.ring() == []
    assert desk.alarm.due == 300
    assert desk.ring() == ["a"]


def test_a_cancelled_timer_does_not_go_off_and_unknown_ones_may_be_cancelled() -> None:
    desk = Desk()
    desk.set("a", 100)
    desk.set("b", 200)
    desk.cancel("a")
    desk.cancel("never set")
    assert desk.ring() == []
    assert desk.ring() == ["b"]


def test_a_step_of_the_wall_clock_moves_no_deadline() -> None:
    desk = Desk()
    desk.set("a", 100)
    desk.clock.step_wall(-3_600_000)
    desk.ref.tell(Tick())
    mailbox(desk.ref).run()
    assert desk.alarm.due == 100
    assert desk.ring() == ["a"]


def test_a_timer_of_an_actor_that_is_gone_disturbs_nobody() -> None:
    desk = Desk()
    gone = RecordingRef()
    desk.set("gone", 100, gone)
    desk.set("stays", 100)
    gone.die()
    assert desk.ring() == ["stays"]
    assert desk.deaths == []


def test_a_stopped_scheduler_takes_its_timer_back() -> None:
    desk = Desk()
    desk.set("a", 100)
    desk.ref.stop(block=False)
    mailbox(desk.ref).run()
    assert desk.alarm.due is None


def test_a_timer_that_rings_after_the_stop_is_ignored() -> None:
    desk = Desk()
    desk.set("a", 100)
    call = desk.alarm.call
    assert call is not None
    desk.ref.stop(block=False)
    mailbox(desk.ref).run()
    call()
    assert len(mailbox(desk.ref)) == 0


def test_an_unknown_message_is_a_mistake() -> None:
    desk = Desk()
    answer: pykka.Future[object] = desk.ref.ask(Sweep(), block=False)
    mailbox(desk.ref).run()
    with pytest.raises(TypeError, match="Sweep"):
        answer.get()
