"""Frames that make no sense, and what holds whatever frames come."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.worker.jobs import AttemptKey
from compute_router.worker.session_events import (
    Connected,
    Disconnected,
    Effect,
    FrameReceived,
    ReconnectDue,
    StopJob,
)
from compute_router.worker.timing import CHALLENGE_WAIT
from tests.worker.conversation import Conversation, frames, started_jobs


@pytest.mark.parametrize(
    "text", ["null", "5", "{", "[]", "{}", '{"type":5}', '{"type":"job_assign"}', "[" * 9999]
)
def test_malformed_frames_are_logged_and_change_nothing(text: str, caplog: pytest.LogCaptureFixture) -> None:
    talk = Conversation().registers()
    assert talk.happens(FrameReceived(text)) == []
    assert [record.levelname for record in caplog.records if "coordinator sent" in record.message] == [
        "WARNING"
    ]
    assert len(started_jobs(talk.is_assigned())) == 1


def test_frames_of_unknown_type_are_ignored_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    talk = Conversation().registers()
    caplog.clear()
    assert talk.hears(type="market_news", job_ids=[]) == []
    assert talk.hears(type="payment_posted", job_ids=[]) == []
    assert caplog.records == []


def test_an_error_frame_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert Conversation().registers().hears(type="error", code="PARSE_ERROR", message="what?") == []
    assert "PARSE_ERROR" in caplog.text


def test_fields_from_newer_coordinators_are_skipped() -> None:
    talk = Conversation().registers()
    assert len(started_jobs(talk.is_assigned(stream=True, colour="blue"))) == 1


any_event = st.one_of(
    st.just("lose"),
    st.just("reconnect"),
    st.just("tick"),
    st.tuples(st.just("assign"), st.integers(0, 4), st.integers(1, 2)),
    st.tuples(st.just("finish"), st.integers(0, 4)),
    st.tuples(st.just("ack"), st.integers(0, 4), st.integers(1, 2)),
    st.tuples(st.just("cancel"), st.integers(0, 4), st.integers(1, 2)),
    st.tuples(st.just("stopped"), st.integers(0, 4)),
)


def stopped_jobs(effects: list[Effect]) -> set[AttemptKey]:
    return {effect.key for effect in effects if isinstance(effect, StopJob)}


@given(st.lists(any_event, max_size=60), st.integers(1, 3))
def test_slots_are_never_exceeded_and_only_unfinished_business_is_held(steps: list[Any], slots: int) -> None:
    talk = Conversation(slots).registers()
    online, running, unacknowledged = True, set[AttemptKey](), set[AttemptKey]()
    stopping = set[AttemptKey]()
    for step in steps:
        match step:
            case "lose" if online:
                talk.happens(Disconnected("gone"))
                online = False
            case "reconnect" if not online:
                talk.happens(ReconnectDue())
                talk.happens(Connected())
                talk.passes(CHALLENGE_WAIT)
                delivered = frames(talk.is_welcomed())
                assert len(delivered) <= len(unacknowledged)
                online = True
            case "tick":
                talk.passes(1_000)
            case ("assign", number, attempt) if online:
                effects = talk.is_assigned(f"job-{number}", attempt)
                stopping |= stopped_jobs(effects)
                running -= stopping
                running |= {job.key for job in started_jobs(effects)}
            case ("finish", number) if number < len(running):
                key = sorted(running, key=str)[number]
                talk.finishes(key.job_id, key.attempt)
                running.discard(key)
                unacknowledged.add(key)
            case ("ack", number, attempt) if online:
                talk.hears(type="job_ack", job_id=f"job-{number}", attempt=attempt, status="accepted")
                unacknowledged.discard(AttemptKey(f"job-{number}", attempt))
            case ("cancel", number, attempt) if online:
                key = AttemptKey(f"job-{number}", attempt)
                stopping |= stopped_jobs(talk.is_cancelled(key.job_id, attempt))
                running.discard(key)
                unacknowledged.discard(key)
            case ("stopped", number) if number < len(stopping):
                key = sorted(stopping, key=str)[number]
                assert talk.stops(key.job_id, key.attempt or 0) == []
                stopping.discard(key)
        assert len(running) <= slots
        assert not running & stopping
        assert len({key.job_id for key in running}) == len(running)
        assert set(talk.session.held) >= running
        assert set(talk.session.held) <= running | unacknowledged


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_breaks_the_session(text: str) -> None:
    assert frames(Conversation().registers().happens(FrameReceived(text))) == []


@given(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    *("challenge", "register_ack", "job_assign", "job_cancel"),
                    *("job_ack", "error", "heartbeat_ack"),
                ]
            )
        },
        optional={
            name: st.none() | st.integers() | st.text() | st.lists(st.integers())
            for name in ("job_id", "status", "attempt", "payload", "nonce", "network", "job_type", "code")
        },
    )
)
def test_no_frame_of_known_type_breaks_the_session(frame: dict[str, Any]) -> None:
    talk = Conversation().registers()
    effects = talk.happens(FrameReceived(msgspec.json.encode(frame).decode()))
    assert not started_jobs(effects)
