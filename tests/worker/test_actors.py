"""The worker's actors, one message at a time, without threads."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.worker.backoff import Backoff
from compute_router.worker.connection import ConnectionActor
from compute_router.worker.execution import Execute, ExecutorActor
from compute_router.worker.executors.llm import UNREACHABLE
from compute_router.worker.jobs import Assignment, AttemptKey, Failed, JobError, Outcome, Output, Stopped
from compute_router.worker.machine import MachineLoad
from compute_router.worker.session import Identity, Session
from compute_router.worker.session_events import (
    Connected,
    Disconnected,
    DrainAsked,
    Event,
    FrameReceived,
    JobFinished,
    JobProgressed,
    ModelsChanged,
    MonotonicMs,
    ReconnectDue,
    Tick,
)
from compute_router.worker.socket_link import LinkBroken
from compute_router.worker.stopping import JobStoppedError, StopSign
from compute_router.worker.timing import CHALLENGE_WAIT

ASSIGNMENT = Assignment(AttemptKey("job", 1), JobType.TASK, b"{}")


class RecordingRef:
    """A mailbox that nobody empties."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def tell(self, message: Any) -> None:
        self.told.append(message)


class ScriptedRunner:
    def __init__(self, result: bytes | Exception, chunks: tuple[str, ...] = ()) -> None:
        self._result = result
        self._chunks = chunks

    def run(self, assignment: Assignment, stop: StopSign, tell_chunk: Callable[[str], None]) -> bytes:
        for chunk in self._chunks:
            tell_chunk(chunk)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class World:
    """Link and surroundings of a connection actor, which write down what is asked of them."""

    def __init__(self, slots: int = 1) -> None:
        self.done: list[object] = []
        self.timers: list[tuple[DurationMs, Event]] = []
        self.executors = [RecordingRef() for _ in range(slots)]
        self.clock = MonotonicMs(0)
        identity = Identity(SigningKey(bytes(32)), ProviderType.SEEKER, slots, "test", "run-1")
        session = Session(identity, Backoff(lambda: 0.5), lambda: MachineLoad(1, 1))
        self.actor = ConnectionActor(session, lambda _ref: self, self.executors, self)

    def connect(self) -> None:
        self.done.append("connect")

    def send(self, frame: bytes) -> None:
        self.done.append(json.loads(frame)["type"])

    def close(self, code: int, reason: str) -> None:
        self.done.append(("close", code))

    def now(self) -> MonotonicMs:
        return self.clock

    def tell_later(self, delay: DurationMs, event: Event) -> None:
        self.timers.append((delay, event))

    def ollama_lost(self) -> None:
        self.done.append("look at ollama")

    def end(self, exit_code: int, reason: str) -> None:
        self.done.append(("end", exit_code))

    def hears(self, **frame: Any) -> None:
        self.actor.on_receive(FrameReceived(json.dumps(frame)))

    def registers(self) -> None:
        self.actor.on_receive(ModelsChanged(()))
        self.actor.on_receive(Connected())
        self.hears(type="challenge", nonce="n", network="net")
        self.hears(type="register_ack", status="ok")

    def is_assigned(self, job: str) -> None:
        self.hears(
            type="job_assign",
            job_id=job,
            attempt=1,
            job_type="TASK",
            payload={},
            policy="FAST",
            privacy_class="PUBLIC",
            user_id="u",
        )


def test_effects_of_the_session_are_carried_out_in_order() -> None:
    world = World()
    world.registers()
    assert world.done == ["connect", "register"]


def test_a_tick_is_scheduled_once_for_each_time_the_session_asks_for() -> None:
    world = World()
    world.actor.on_receive(ModelsChanged(()))
    world.actor.on_receive(Connected())
    world.actor.on_receive(FrameReceived("null"))
    assert world.timers == [(CHALLENGE_WAIT, Tick())]


def test_a_job_goes_to_a_free_executor_which_is_free_again_when_it_is_done() -> None:
    world = World(slots=2)
    world.registers()
    for job in ("a", "b", "c"):
        world.is_assigned(job)
    assert world.done[2:] == ["job_reject"]
    assert [len(executor.told) for executor in world.executors] == [1, 1]
    world.actor.on_receive(JobFinished(AttemptKey("a", 1), Failed("x", "y", retryable=True)))
    world.is_assigned("d")
    assert world.done[3:] == ["job_failed"]
    executed = [execute.assignment.key.job_id for execute in world.executors[1].told]
    assert executed == ["a", "d"]


@pytest.mark.parametrize("code", ["ollama_unreachable", "model_unavailable"])
def test_a_job_that_finds_ollama_or_its_model_gone_makes_the_worker_look_at_once(code: str) -> None:
    world = World()
    world.registers()
    world.is_assigned("a")
    world.actor.on_receive(JobFinished(AttemptKey("a", 1), Failed(code, "y", retryable=True)))
    assert "look at ollama" in world.done


def test_a_cancelled_job_is_stopped_and_the_next_goes_to_the_same_executor() -> None:
    world = World()
    world.registers()
    world.is_assigned("a")
    world.hears(type="job_cancel", job_id="a", attempt=1)
    (executor,) = world.executors
    with pytest.raises(JobStoppedError):
        executor.told[0].stop.check()
    world.is_assigned("b")
    world.actor.on_receive(JobFinished(AttemptKey("a", 1), Stopped()))
    world.actor.on_receive(JobFinished(AttemptKey("b", 1), Output(b"{}", UnixMs(0))))
    assert [execute.assignment.key.job_id for execute in executor.told] == ["a", "b"]
    assert world.done[2:] == ["job_complete"]


def test_what_a_cancelled_job_found_out_about_ollama_is_not_looked_into() -> None:
    world = World()
    world.registers()
    world.is_assigned("a")
    world.hears(type="job_cancel", job_id="a", attempt=1)
    world.actor.on_receive(JobFinished(AttemptKey("a", 1), Failed(UNREACHABLE, "y", retryable=True)))
    assert world.done[2:] == []


def test_a_worker_that_has_drained_ends_with_0() -> None:
    world = World()
    world.registers()
    world.actor.on_receive(DrainAsked())
    assert world.done[2:] == ["drain", ("close", 1000), ("end", 0)]


def test_jobs_that_still_run_are_stopped_with_the_worker() -> None:
    world = World()
    world.registers()
    world.is_assigned("a")
    world.actor.on_stop()
    with pytest.raises(JobStoppedError):
        world.executors[0].told[0].stop.check()


def test_a_lost_connection_is_logged_in_one_line_with_the_delay(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.registers()
    caplog.clear()
    world.actor.on_receive(Disconnected("closed the connection"))
    assert world.timers[-1] == (250, ReconnectDue())
    (line,) = caplog.messages
    assert line == "The coordinator closed the connection. Next try in 0.2 s."


def test_another_program_with_its_key_ends_the_worker_with_an_exit_code() -> None:
    world = World()
    world.registers()
    world.actor.on_receive(Disconnected("closed", 4001, "replaced by a newer connection of this key"))
    assert world.done[-1] == ("end", 1)


def test_a_refusal_ends_the_worker_with_an_exit_code() -> None:
    world = World()
    world.actor.on_receive(ModelsChanged(()))
    world.actor.on_receive(Connected())
    world.hears(type="register_ack", status="error", error="no")
    assert world.done[-1] == ("end", 1)


def test_a_defect_of_the_link_ends_the_worker() -> None:
    world = World()
    with pytest.raises(ZeroDivisionError):
        world.actor.on_receive(LinkBroken(ZeroDivisionError()))
    world.actor.on_failure(ZeroDivisionError, None, None)
    assert world.done == [("end", 1)]


def outcome_of(result: bytes | Exception) -> Outcome:
    recipient = RecordingRef()
    ExecutorActor(ScriptedRunner(result)).on_receive(Execute(ASSIGNMENT, StopSign(), recipient))
    (finished,) = recipient.told
    assert isinstance(finished, JobFinished)
    assert finished.key == ASSIGNMENT.key
    return finished.outcome


def test_the_executor_tells_the_output_and_when_it_was_made() -> None:
    outcome = outcome_of(b'{"a":1}')
    assert isinstance(outcome, Output)
    assert outcome.json == b'{"a":1}'
    assert outcome.completed_at > 1_700_000_000_000


def test_the_executor_tells_chunks_before_the_output() -> None:
    recipient = RecordingRef()
    runner = ScriptedRunner(b'"ab"', chunks=("a", "b"))
    ExecutorActor(runner).on_receive(Execute(ASSIGNMENT, StopSign(), recipient))
    first, second, finished = recipient.told
    assert [first, second] == [JobProgressed(ASSIGNMENT.key, "a"), JobProgressed(ASSIGNMENT.key, "b")]
    assert isinstance(finished, JobFinished)


def test_a_job_that_was_stopped_before_its_turn_is_not_run() -> None:
    recipient, stop = RecordingRef(), StopSign()
    stop.stop()
    ExecutorActor(ScriptedRunner(ZeroDivisionError())).on_receive(Execute(ASSIGNMENT, stop, recipient))
    assert recipient.told == [JobFinished(ASSIGNMENT.key, Stopped())]


def test_a_job_that_stops_while_it_runs_is_no_defect() -> None:
    assert outcome_of(JobStoppedError("Stopped.")) == Stopped()


def test_the_executor_tells_why_a_job_cannot_be_done() -> None:
    assert outcome_of(JobError("no_luck", "No luck.", retryable=False)) == Failed(
        "no_luck", "No luck.", retryable=False
    )


def test_a_defect_fails_the_job_and_is_logged_without_the_jobs_content(
    expected_errors: list[logging.LogRecord],
) -> None:
    outcome = outcome_of(ZeroDivisionError("secret prompt"))
    assert outcome == Failed("internal_error", "The worker has a defect: ZeroDivisionError", retryable=True)
    assert [record.levelname for record in expected_errors] == ["ERROR"]
