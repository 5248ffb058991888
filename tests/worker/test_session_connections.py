"""When a worker comes back after a close, and when it ends."""

from __future__ import annotations

import pytest

from compute_router.protocol.units import DurationMs
from compute_router.worker.session_events import (
    ClosedForGood,
    CloseSocket,
    Connected,
    Disconnected,
    ModelsChanged,
    ReconnectDue,
    ScheduleReconnect,
)
from compute_router.worker.timing import CHALLENGE_WAIT
from tests.worker.conversation import NETWORK, Conversation


def test_delays_grow_with_failures_and_start_over_after_a_registration() -> None:
    talk = Conversation()
    talk.happens(ModelsChanged(()))
    delays = []
    for _ in range(3):
        (scheduled,) = talk.happens(Disconnected("refused"))
        assert isinstance(scheduled, ScheduleReconnect)
        delays.append(scheduled.delay)
        talk.happens(ReconnectDue())
    assert delays == [250, 500, 1000]
    talk.happens(Connected())
    talk.passes(CHALLENGE_WAIT)
    talk.is_welcomed()
    assert talk.happens(Disconnected("gone")) == [ScheduleReconnect(delays[0], "gone")]


NEWER = "replaced by a newer connection of this key"


@pytest.mark.parametrize(
    "lost",
    [Disconnected("closed", 4001, NEWER), Disconnected("closed", 4001), Disconnected("closed", 1008, NEWER)],
    ids=["with a reason", "by the code alone", "as older coordinators say it"],
)
def test_a_worker_whose_key_another_program_uses_ends_and_says_what_to_do(lost: Disconnected) -> None:
    talk = Conversation().registers()
    (end,) = talk.happens(lost)
    assert isinstance(end, ClosedForGood)
    assert "Another program uses this worker's key" in end.reason
    assert "--key PATH" in end.reason
    assert talk.happens(ReconnectDue()) == []
    assert talk.session.wake_at is None


@pytest.mark.parametrize(
    "lost",
    [
        Disconnected("closed", 1008, "no heartbeat"),
        Disconnected("closed", 1001, "replaced by a newer version"),
        Disconnected("closed", 1013, "too many workers; try again later"),
        Disconnected("closed"),
    ],
)
def test_after_any_other_close_it_comes_back(lost: Disconnected) -> None:
    talk = Conversation().registers()
    for _ in range(3):
        assert talk.happens(lost) == [ScheduleReconnect(DurationMs(250), "closed")]
        talk.happens(ReconnectDue())
        talk.happens(Connected())
        talk.hears(type="challenge", nonce="again", network=NETWORK)
        talk.is_welcomed()


def test_a_refusal_that_a_late_challenge_explains_is_no_end() -> None:
    talk = Conversation()
    talk.connects()
    talk.passes(CHALLENGE_WAIT)
    talk.hears(type="challenge", nonce="late", network=NETWORK)
    (close,) = talk.hears(type="register_ack", status="error", error="another connection holds this key")
    assert isinstance(close, CloseSocket)
    (again,) = talk.happens(Disconnected("closed", 1008, "not the holder of this key"))
    assert isinstance(again, ScheduleReconnect)
    assert "too late" in again.reason
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    talk.hears(type="challenge", nonce="in time", network=NETWORK)
    (end,) = talk.hears(type="register_ack", status="error", error="key is banned")
    assert isinstance(end, ClosedForGood)
