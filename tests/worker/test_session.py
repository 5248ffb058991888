"""The worker's conversation with the coordinator, frame by frame."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import (
    WORKER_FRAMES,
    Drain,
    Heartbeat,
    HeldJob,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
    Model,
    Register,
    registration_message,
)
from compute_router.protocol.receipts import (
    Receipt,
    SignedReceipt,
    decode_receipt,
    public_key_hex,
    sha256_hex,
    verify_receipt,
    verify_signature,
)
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.worker.backoff import Backoff
from compute_router.worker.jobs import Assignment, AttemptKey, Failed, Outcome, Output, Stopped
from compute_router.worker.machine import MachineLoad
from compute_router.worker.outbox import MAX_SENDS
from compute_router.worker.result_frames import MAX_FRAME_BYTES
from compute_router.worker.session import Identity, Session
from compute_router.worker.session_events import (
    ClosedForGood,
    CloseSocket,
    Connect,
    Connected,
    Disconnected,
    DrainAsked,
    Drained,
    Effect,
    Event,
    FrameReceived,
    JobFinished,
    JobProgressed,
    ModelsChanged,
    MonotonicMs,
    ReconnectDue,
    RunJob,
    ScheduleReconnect,
    SendFrame,
    StopJob,
    Tick,
)
from compute_router.worker.timing import (
    CHALLENGE_WAIT,
    HEARTBEAT_EVERY,
    MAX_UNANSWERED_HEARTBEATS,
    REGISTER_WAIT,
    Timing,
)

KEY = SigningKey(bytes(32))
PUBKEY = public_key_hex(KEY)
NETWORK = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
LLAMA = Model("llama3:latest", digest="d" * 64)
QWEN = Model("qwen:7b")
DONE = Output(b'{"summary":"x","word_count":1}', UnixMs(1_770_638_405_000))
LOST = Failed("ollama_unreachable", "Ollama cannot be reached.", retryable=True)


class Conversation:
    """A session with a clock, spoken to in terms of the protocol."""

    def __init__(self, slots: int = 1, models: tuple[Model, ...] = (), timing: Timing | None = None) -> None:
        identity = Identity(KEY, ProviderType.DESKTOP, slots, "test/1", "run-1")
        self.session = Session(identity, Backoff(lambda: 0.5), lambda: MachineLoad(12.5, 40.0), timing)
        self.now = MonotonicMs(1_000)
        self.models = models

    def happens(self, event: Event) -> list[Effect]:
        return self.session.handle(event, self.now)

    def hears(self, **frame: Any) -> list[Effect]:
        return self.happens(FrameReceived(json.dumps(frame)))

    def passes(self, ms: int) -> list[Effect]:
        """Let time pass, with a tick whenever the session asked for one."""
        end, effects = MonotonicMs(self.now + ms), []
        while (wake_at := self.session.wake_at) is not None and wake_at <= end:
            self.now = wake_at
            effects += self.happens(Tick())
        self.now = end
        return effects

    def connects(self) -> None:
        started = self.happens(ModelsChanged(self.models))
        assert started == [Connect()]
        assert self.happens(Connected()) == []

    def registers(self) -> Conversation:
        self.connects()
        self.hears(type="challenge", nonce="n1", network=NETWORK)
        assert self.is_welcomed() == []
        return self

    def is_welcomed(self) -> list[Effect]:
        return self.hears(type="register_ack", status="ok", worker_id="w1")

    def is_answered(self, job: str = "job-1", attempt: int = 1, status: str = "accepted") -> list[Effect]:
        return self.hears(type="job_ack", job_id=job, attempt=attempt, status=status)

    def reconnects(self) -> Register:
        """Lose the connection and get to the registration on the next one."""
        (scheduled,) = self.happens(Disconnected("gone"))
        assert isinstance(scheduled, ScheduleReconnect)
        assert self.happens(ReconnectDue()) == [Connect()]
        self.happens(Connected())
        (register,) = frames(self.hears(type="challenge", nonce="n2", network=NETWORK))
        assert isinstance(register, Register)
        return register

    def is_assigned(self, job: str = "job-1", attempt: int | None = 1, **more: Any) -> list[Effect]:
        frame: dict[str, Any] = {
            "type": "job_assign",
            "job_id": job,
            "job_type": "TASK",
            "payload": {"task_type": "summarize", "input": "x"},
            "policy": "CHEAP",
            "privacy_class": "PUBLIC",
            "user_id": "ada",
        }
        if attempt is not None:
            frame["attempt"] = attempt
        return self.hears(**{**frame, **more})

    def is_cancelled(self, job: str = "job-1", attempt: int = 1) -> list[Effect]:
        return self.hears(type="job_cancel", job_id=job, attempt=attempt)

    def stops(self, job: str = "job-1", attempt: int = 1) -> list[Effect]:
        """The executor of a cancelled attempt has stopped."""
        return self.finishes(job, attempt, Stopped())

    def finishes(self, job: str = "job-1", attempt: int | None = 1, outcome: Outcome = DONE) -> list[Effect]:
        return self.happens(JobFinished(AttemptKey(job, attempt), outcome))


def frames(effects: list[Effect]) -> list[object]:
    """The frames sent, decoded as strictly as a coordinator does."""
    return [WORKER_FRAMES.decode(effect.data) for effect in effects if isinstance(effect, SendFrame)]


def started_jobs(effects: list[Effect]) -> list[Assignment]:
    return [effect.assignment for effect in effects if isinstance(effect, RunJob)]


# Registration


def test_nothing_is_done_before_the_first_word_about_models() -> None:
    assert Conversation().session.wake_at is None


def test_a_challenge_is_answered_with_proof_of_the_key() -> None:
    talk = Conversation(slots=2, models=(LLAMA, QWEN))
    talk.connects()
    (register,) = frames(talk.hears(type="challenge", nonce="n1", network=NETWORK))
    assert isinstance(register, Register)
    assert (register.provider_pubkey, register.provider_type) == (PUBKEY, ProviderType.DESKTOP)
    assert register.capabilities == ["LLM_INFER", "TASK"]
    assert (register.slots, register.models, register.agent) == (2, [LLAMA, QWEN], "test/1")
    assert register.nonce == "n1"
    assert register.signature is not None
    verify_signature(PUBKEY, registration_message(NETWORK, "n1", PUBKEY), register.signature)


def test_without_a_challenge_the_worker_registers_without_proof_after_a_moment() -> None:
    talk = Conversation()
    talk.connects()
    assert talk.passes(CHALLENGE_WAIT - 1) == []
    (register,) = frames(talk.passes(1))
    assert isinstance(register, Register)
    assert (register.nonce, register.signature) == (None, None)


@pytest.mark.parametrize("welcomed_first", [False, True])
def test_a_late_challenge_is_still_answered(welcomed_first: bool) -> None:
    talk = Conversation()
    talk.connects()
    talk.passes(CHALLENGE_WAIT)
    if welcomed_first:
        talk.is_welcomed()
    (register,) = frames(talk.hears(type="challenge", nonce="late", network=NETWORK))
    assert isinstance(register, Register)
    assert register.nonce == "late"


def test_a_nonce_is_never_used_on_another_connection() -> None:
    talk = Conversation().registers()
    talk.happens(Disconnected("gone"))
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.nonce is None


def test_a_worker_without_models_offers_tasks_only() -> None:
    talk = Conversation()
    talk.connects()
    (register,) = frames(talk.hears(type="challenge", nonce="n", network=NETWORK))
    assert isinstance(register, Register)
    assert (register.capabilities, register.models) == (["TASK"], [])


def test_models_that_appear_or_go_away_are_registered_on_the_same_socket() -> None:
    talk = Conversation().registers()
    (appeared,) = frames(talk.happens(ModelsChanged((LLAMA,))))
    (went_away,) = frames(talk.happens(ModelsChanged(())))
    assert isinstance(appeared, Register)
    assert isinstance(went_away, Register)
    assert (appeared.capabilities, went_away.capabilities) == (["LLM_INFER", "TASK"], ["TASK"])
    assert appeared.nonce == "n1"


def test_models_that_stay_as_they_are_are_not_registered_again() -> None:
    talk = Conversation(models=(LLAMA,)).registers()
    assert talk.happens(ModelsChanged((LLAMA,))) == []


def test_models_that_change_while_there_is_no_socket_are_in_the_next_registration() -> None:
    talk = Conversation().registers()
    talk.happens(Disconnected("gone"))
    assert talk.happens(ModelsChanged((QWEN,))) == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.models == [QWEN]


def test_a_refused_registration_ends_the_worker_with_the_coordinators_words() -> None:
    talk = Conversation()
    talk.connects()
    talk.passes(CHALLENGE_WAIT)
    (end,) = talk.hears(type="register_ack", status="error", error="key is banned")
    assert end == ClosedForGood("The coordinator refused this worker: key is banned")
    assert talk.happens(Disconnected("gone")) == []
    assert talk.session.wake_at is None


def test_a_registration_without_answer_closes_the_socket_and_tries_again() -> None:
    talk = Conversation()
    talk.connects()
    talk.passes(CHALLENGE_WAIT)
    (close,) = talk.passes(REGISTER_WAIT)
    assert close == CloseSocket(1001, "the coordinator did not answer the registration")
    (again,) = talk.happens(Disconnected("closed"))
    assert isinstance(again, ScheduleReconnect)


# Heartbeats


def test_heartbeats_tell_load_and_running_jobs_every_ten_seconds() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned("finished", attempt=1)
    talk.finishes("finished")
    talk.is_assigned("job-1", attempt=3)
    for _ in range(5):
        (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
        talk.hears(type="heartbeat_ack", status="ok")
        assert isinstance(beat, Heartbeat)
        assert beat.jobs == [HeldJob("job-1", 3)]
        assert beat.provider_pubkey == PUBKEY
        assert beat.metrics is not None
        assert (beat.metrics.cpu_pct, beat.metrics.mem_pct, beat.metrics.active_jobs) == (12.5, 40.0, 1)


def test_a_tick_before_its_time_does_nothing() -> None:
    talk = Conversation().registers()
    assert talk.happens(Tick()) == []


def test_jobs_without_attempts_are_counted_in_heartbeats_but_not_named() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=None)
    (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
    assert isinstance(beat, Heartbeat)
    assert beat.metrics is not None
    assert (beat.metrics.active_jobs, beat.jobs) == (1, [])


def test_a_coordinator_that_answers_no_heartbeat_is_left_and_reached_again() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert len(frames(talk.passes(MAX_UNANSWERED_HEARTBEATS * HEARTBEAT_EVERY))) == MAX_UNANSWERED_HEARTBEATS
    (close,) = talk.passes(HEARTBEAT_EVERY)
    assert close == CloseSocket(1001, "the coordinator did not answer 3 heartbeats")
    assert talk.passes(10 * HEARTBEAT_EVERY) == []
    again = talk.happens(Disconnected("closed the connection without a word"))
    assert again == [ScheduleReconnect(DurationMs(250), "did not answer 3 heartbeats")]
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.active_jobs == [HeldJob("job-1", 1)]


def test_one_answer_makes_up_for_the_heartbeats_before_it() -> None:
    talk = Conversation().registers()
    for _ in range(5):
        talk.passes((MAX_UNANSWERED_HEARTBEATS - 1) * HEARTBEAT_EVERY)
        talk.hears(type="heartbeat_ack", status="ok")
    assert len(frames(talk.passes(HEARTBEAT_EVERY))) == 1


def test_heartbeats_without_answer_are_forgotten_with_their_connection() -> None:
    talk = Conversation().registers()
    talk.passes(MAX_UNANSWERED_HEARTBEATS * HEARTBEAT_EVERY)
    talk.reconnects()
    talk.is_welcomed()
    assert len(frames(talk.passes(HEARTBEAT_EVERY))) == 1


def test_the_rhythm_of_heartbeats_can_be_set() -> None:
    talk = Conversation(timing=Timing(heartbeat_every=DurationMs(50))).registers()
    assert len(frames(talk.passes(100))) == 2


def test_there_are_no_heartbeats_without_a_registration() -> None:
    talk = Conversation().registers()
    talk.happens(Disconnected("gone"))
    assert talk.passes(10 * HEARTBEAT_EVERY) == []


# Jobs


def test_a_task_is_run_and_its_receipt_covers_the_very_bytes_that_are_sent() -> None:
    talk = Conversation().registers()
    effects = talk.is_assigned(deadline_ms=30_000)
    (assignment,) = started_jobs(effects)
    assert frames(effects) == []
    assert assignment.key == AttemptKey("job-1", 1)
    assert json.loads(assignment.payload) == {"task_type": "summarize", "input": "x"}
    (complete,) = frames(talk.finishes())
    assert isinstance(complete, JobComplete)
    assert (complete.job_id, complete.attempt) == ("job-1", 1)
    assert bytes(complete.output) == DONE.json
    assert complete.receipt is not None
    assert complete.receipt_signature is not None
    receipt = verify_receipt(
        SignedReceipt(bytes(complete.receipt), complete.receipt_signature),
        job_id="job-1",
        output_json=bytes(complete.output),
        provider_pubkey=PUBKEY,
    )
    assert receipt.output_hash == complete.output_hash
    assert receipt.completed_at == "2026-02-09T12:00:05.000Z"


def receipt_of(frame: object) -> Receipt:
    """The receipt in a result, as the text that was signed says it."""
    assert isinstance(frame, JobComplete)
    assert frame.receipt is not None
    assert frame.receipt_signature is not None
    verify_signature(PUBKEY, bytes(frame.receipt), frame.receipt_signature)
    return decode_receipt(bytes(frame.receipt))


def test_a_receipt_names_the_request_as_it_arrived_and_the_attempt() -> None:
    talk = Conversation().registers()
    payload = '{"task_type" : "summarize",  "input":"\\u0041"}'
    text = (
        '{"type":"job_assign","job_id":"j","job_type":"TASK","payload":' + payload + ',"policy":"CHEAP",'
        '"privacy_class":"PUBLIC","user_id":"u","attempt":3}'
    )
    talk.happens(FrameReceived(text))
    (complete,) = frames(talk.finishes("j", 3))
    receipt = receipt_of(complete)
    assert (receipt.request_hash, receipt.attempt) == (sha256_hex(payload.encode()), 3)
    assert isinstance(complete, JobComplete)
    assert bytes(complete.receipt or b"").endswith(b',"model":null,"model_digest":null,"attempt":3}')


@pytest.mark.parametrize(("asked", "model"), [(None, LLAMA), (QWEN.name, QWEN)])
def test_a_receipt_of_inference_names_the_model_that_ran_as_ollama_reported_it(
    asked: str | None, model: Model
) -> None:
    talk = Conversation(models=(LLAMA, QWEN)).registers()
    talk.is_assigned(job_type="LLM_INFER", payload={"prompt": "hi"}, model=asked)
    receipt = receipt_of(frames(talk.finishes())[0])
    assert (receipt.model, receipt.model_digest) == (model.name, model.digest)


def test_a_coordinator_that_counts_no_attempts_gets_a_receipt_of_five_keys() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=None)
    (complete,) = frames(talk.finishes(attempt=None))
    assert isinstance(complete, JobComplete)
    assert list(json.loads(bytes(complete.receipt or b""))) == [
        "job_id",
        "provider_pubkey",
        "output_hash",
        "completed_at",
        "payment_ref",
    ]


def test_the_payload_reaches_the_executor_byte_for_byte() -> None:
    talk = Conversation().registers()
    payload = '{"task_type" : "summarize",  "input":"\\u0041"}'
    text = (
        '{"type":"job_assign","job_id":"j","job_type":"TASK","payload":' + payload + ',"policy":"CHEAP",'
        '"privacy_class":"PUBLIC","user_id":"u"}'
    )
    (assignment,) = started_jobs(talk.happens(FrameReceived(text)))
    assert assignment.payload == payload.encode()


@pytest.mark.parametrize(("asked", "model"), [("qwen:7b", "qwen:7b"), (None, "llama3:latest")])
def test_inference_is_announced_and_uses_the_asked_or_the_first_model(asked: str | None, model: str) -> None:
    talk = Conversation(models=(LLAMA, QWEN)).registers()
    effects = talk.is_assigned(job_type="LLM_INFER", payload={"prompt": "hi"}, model=asked)
    assert frames(effects) == [JobStarted("job-1", 1)]
    (assignment,) = started_jobs(effects)
    assert (assignment.job_type, assignment.model) == (JobType.LLM_INFER, model)


def test_a_failure_is_told_with_its_code_and_never_as_a_result() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    sent = frames(talk.finishes(outcome=LOST))
    assert sent == [JobFailed("job-1", 1, "ollama_unreachable", "Ollama cannot be reached.", True)]


def test_a_failure_for_a_coordinator_that_counts_no_attempts_is_a_reject() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=None)
    (reject,) = frames(talk.finishes(attempt=None, outcome=LOST))
    assert reject == JobReject("job-1", "ollama_unreachable: Ollama cannot be reached.")


def test_long_words_of_a_failure_are_cut_to_what_the_protocol_takes() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    (failed,) = frames(talk.finishes(outcome=Failed("c" * 100, "m" * 10_000, retryable=False)))
    assert isinstance(failed, JobFailed)
    assert not failed.retryable


def test_an_output_too_large_for_a_frame_is_a_failure() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    huge = Output(b'"' + b"x" * MAX_FRAME_BYTES + b'"', UnixMs(0))
    (failed,) = frames(talk.finishes(outcome=huge))
    assert isinstance(failed, JobFailed)
    assert (failed.code, failed.retryable) == ("output_too_large", False)


def test_more_jobs_than_slots_are_rejected_as_busy() -> None:
    talk = Conversation(slots=2).registers()
    assert len(started_jobs(talk.is_assigned("a"))) == 1
    assert len(started_jobs(talk.is_assigned("b"))) == 1
    assert frames(talk.is_assigned("c")) == [JobReject("c", "busy", 1)]
    talk.finishes("a")
    assert len(started_jobs(talk.is_assigned("c", 2))) == 1


def test_inference_without_a_model_is_rejected() -> None:
    talk = Conversation().registers()
    effects = talk.is_assigned(job_type="LLM_INFER", payload={"prompt": "hi"})
    assert frames(effects) == [JobReject("job-1", "unsupported job type LLM_INFER", 1)]
    assert started_jobs(effects) == []


def test_a_job_of_an_unknown_type_is_rejected() -> None:
    talk = Conversation().registers()
    assert frames(talk.is_assigned(job_type="PAINT")) == [JobReject("job-1", "unsupported job", 1)]


def test_an_assignment_that_comes_twice_runs_once() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned()
    assert talk.is_assigned() == []


def test_an_assignment_whose_result_is_held_is_answered_with_that_result() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    sent = talk.finishes()
    assert talk.is_assigned() == sent


def test_a_job_that_was_never_started_cannot_finish() -> None:
    with pytest.raises(ValueError, match="without having been started"):
        Conversation().registers().finishes()


def test_a_job_that_nobody_stopped_cannot_have_stopped() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    with pytest.raises(ValueError, match="without having been told to"):
        talk.stops()


def test_a_newer_attempt_takes_the_place_of_the_one_that_runs() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=1)
    stop, run = talk.is_assigned(attempt=2)
    assert stop == StopJob(AttemptKey("job-1", 1))
    assert [job.key for job in started_jobs([run])] == [AttemptKey("job-1", 2)]
    assert talk.stops(attempt=1) == []
    (complete,) = frames(talk.finishes(attempt=2))
    assert isinstance(complete, JobComplete)
    assert complete.attempt == 2


def test_a_newer_attempt_takes_the_place_of_a_result_that_is_held() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=1)
    talk.finishes(attempt=1)
    assert len(started_jobs(talk.is_assigned(attempt=2))) == 1
    assert talk.session.held == [AttemptKey("job-1", 2)]


def test_an_older_attempt_does_not_disturb_a_newer_one() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned(attempt=2)
    assert frames(talk.is_assigned(attempt=1)) == [JobReject("job-1", "busy", 1)]
    assert talk.session.held == [AttemptKey("job-1", 2)]


# Cancelling


def test_a_cancelled_job_is_stopped_and_nothing_more_is_said_about_it() -> None:
    talk = Conversation(models=(LLAMA,)).registers()
    talk.is_assigned(job_type="LLM_INFER", payload={"prompt": "hi"})
    assert talk.is_cancelled() == [StopJob(AttemptKey("job-1", 1))]
    assert talk.happens(JobProgressed(AttemptKey("job-1", 1), "Hel")) == []
    (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
    assert isinstance(beat, Heartbeat)
    assert beat.jobs == []
    assert talk.stops() == []
    assert talk.session.held == []


@pytest.mark.parametrize("outcome", [DONE, LOST], ids=["result", "failure"])
def test_an_outcome_that_crosses_its_cancel_is_dropped(outcome: Outcome) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.is_cancelled()
    assert talk.finishes(outcome=outcome) == []
    assert talk.session.held == []


def test_a_cancelled_job_frees_its_slot_at_once() -> None:
    talk = Conversation().registers()
    talk.is_assigned("a")
    talk.is_cancelled("a")
    assert len(started_jobs(talk.is_assigned("b"))) == 1
    assert talk.stops("a") == []
    assert frames(talk.is_assigned("c")) == [JobReject("c", "busy", 1)]


def test_a_held_result_of_a_cancelled_job_is_dropped() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    assert talk.is_cancelled() == []
    assert talk.reconnects().active_jobs == []
    assert talk.is_welcomed() == []


def test_the_cancel_of_another_attempt_or_an_unknown_job_changes_nothing() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=2)
    assert talk.is_cancelled(attempt=1) == []
    assert talk.is_cancelled("job-9") == []
    assert talk.session.held == [AttemptKey("job-1", 2)]


def test_a_second_cancel_changes_nothing() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.is_cancelled()
    assert talk.is_cancelled() == []
    talk.stops()
    assert talk.is_cancelled() == []


def test_a_cancelled_attempt_is_not_begun_anew_while_it_still_stops() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.is_cancelled()
    assert frames(talk.is_assigned()) == [JobReject("job-1", "busy", 1)]


# Chunks


def llm_job() -> Conversation:
    talk = Conversation(models=(LLAMA,)).registers()
    talk.is_assigned(job_type="LLM_INFER", payload={"prompt": "hi"})
    return talk


def progress(delta: str) -> JobProgressed:
    return JobProgressed(AttemptKey("job-1", 1), delta)


def test_chunks_are_numbered_from_zero() -> None:
    talk = llm_job()
    sent = [frames(talk.happens(progress(delta))) for delta in ("Hel", "lo")]
    assert sent == [[JobChunk("job-1", 1, 0, "Hel")], [JobChunk("job-1", 1, 1, "lo")]]


def test_chunks_of_a_lost_connection_are_not_repeated_but_leave_a_gap() -> None:
    talk = llm_job()
    talk.happens(progress("a"))
    talk.happens(Disconnected("gone"))
    assert talk.happens(progress("b")) == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    talk.passes(CHALLENGE_WAIT)
    assert talk.is_welcomed() == []
    assert frames(talk.happens(progress("c"))) == [JobChunk("job-1", 1, 2, "c")]


def test_a_coordinator_that_counts_no_attempts_gets_no_chunks() -> None:
    talk = Conversation(models=(LLAMA,)).registers()
    talk.is_assigned(attempt=None, job_type="LLM_INFER", payload={"prompt": "hi"})
    assert talk.happens(JobProgressed(AttemptKey("job-1", None), "Hel")) == []


def test_a_chunk_that_comes_after_its_result_is_not_sent() -> None:
    talk = llm_job()
    talk.finishes()
    assert talk.happens(progress("late")) == []


# Leaving

LEAVE = [CloseSocket(1000, "the worker leaves"), Drained("All jobs are done and delivered.")]


def test_an_idle_worker_that_is_asked_to_drain_says_so_and_leaves() -> None:
    talk = Conversation().registers()
    drain, *rest = talk.happens(DrainAsked())
    assert frames([drain]) == [Drain()]
    assert rest == LEAVE
    assert talk.happens(Disconnected("closed")) == []
    assert talk.session.wake_at is None


def test_a_worker_that_is_not_connected_leaves_without_a_word() -> None:
    assert Conversation().happens(DrainAsked()) == LEAVE


def test_a_draining_worker_leaves_when_its_results_are_acknowledged() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned("a")
    talk.is_assigned("b")
    assert frames(talk.happens(DrainAsked())) == [Drain()]
    assert len(frames(talk.finishes("a"))) == 1
    assert talk.is_answered("a") == []
    (complete,) = talk.finishes("b")
    assert isinstance(complete, SendFrame)
    assert talk.is_answered("b", status="stale") == LEAVE


def test_a_draining_worker_leaves_behind_its_last_failure() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    failed, *rest = talk.finishes(outcome=LOST)
    assert frames([failed]) == [JobFailed("job-1", 1, LOST.code, LOST.message, True)]
    assert rest == LEAVE


def test_a_draining_worker_leaves_when_its_last_job_is_cancelled() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    assert talk.is_cancelled() == [StopJob(AttemptKey("job-1", 1)), *LEAVE]
    assert talk.stops() == []


def test_a_draining_worker_takes_no_more_jobs() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned("a")
    talk.happens(DrainAsked())
    effects = talk.is_assigned("b")
    assert frames(effects) == [JobReject("b", "draining", 1)]
    assert started_jobs(effects) == []


def test_a_draining_worker_keeps_its_heartbeat() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
    assert isinstance(beat, Heartbeat)
    assert beat.jobs == [HeldJob("job-1", 1)]


def test_the_coordinator_can_ask_a_worker_to_drain() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert frames(talk.hears(type="drain")) == [Drain()]
    assert talk.hears(type="drain") == []
    talk.finishes()
    assert talk.is_answered() == LEAVE


def test_a_draining_worker_without_connection_comes_back_to_deliver() -> None:
    talk = Conversation(timing=Timing(drain_limit=DurationMs(60_000))).registers()
    talk.is_assigned()
    talk.happens(Disconnected("gone"))
    assert talk.happens(DrainAsked()) == []
    assert talk.finishes() == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    drain, complete = frames(talk.is_welcomed())
    assert drain == Drain()
    assert isinstance(complete, JobComplete)
    assert talk.is_answered() == LEAVE


def test_a_draining_worker_that_registers_again_says_again_that_it_drains() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    register, drain = frames(talk.happens(ModelsChanged((LLAMA,))))
    assert isinstance(register, Register)
    assert drain == Drain()


def test_a_draining_worker_gives_back_what_is_not_done_in_time() -> None:
    talk = Conversation(slots=2, timing=Timing(drain_limit=DurationMs(5_000))).registers()
    talk.is_assigned("done")
    talk.is_assigned("slow")
    talk.happens(DrainAsked())
    talk.finishes("done")
    assert talk.passes(4_999) == []
    stop, given_back, *rest = talk.passes(1)
    assert stop == StopJob(AttemptKey("slow", 1))
    assert frames([given_back]) == [JobReject("slow", "draining", 1)]
    assert rest == [
        CloseSocket(1000, "the worker leaves"),
        Drained("The time to drain is over with 1 job(s) not done and 1 result(s) not acknowledged."),
    ]
    assert talk.stops("slow") == []
    assert talk.session.wake_at is None


def test_a_draining_worker_that_reaches_nobody_leaves_in_time() -> None:
    talk = Conversation(timing=Timing(drain_limit=DurationMs(5_000))).registers()
    talk.is_assigned()
    talk.finishes()
    talk.happens(DrainAsked())
    talk.happens(Disconnected("gone"))
    close, drained = talk.passes(5_000)
    assert isinstance(close, CloseSocket)
    assert drained == Drained(
        "The time to drain is over with 0 job(s) not done and 1 result(s) not acknowledged."
    )


# Results across connections


def test_a_result_finished_while_disconnected_is_delivered_after_reconnecting() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(Disconnected("gone"))
    assert talk.finishes() == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.hears(type="challenge", nonce="n2", network=NETWORK))
    assert isinstance(register, Register)
    assert register.active_jobs == [HeldJob("job-1", 1)]
    (complete,) = frames(talk.is_welcomed())
    assert isinstance(complete, JobComplete)


def test_a_running_job_is_listed_as_active_and_delivered_when_it_is_done() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert talk.reconnects().active_jobs == [HeldJob("job-1", 1)]
    assert talk.is_welcomed() == []
    assert len(frames(talk.finishes())) == 1


def test_a_result_without_acknowledgement_is_sent_again_after_every_reconnect_up_to_a_bound() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    sends = len(frames(talk.finishes()))
    for _ in range(MAX_SENDS + 3):
        talk.reconnects()
        sends += len(frames(talk.is_welcomed()))
    assert sends == MAX_SENDS
    assert talk.session.held == []


@pytest.mark.parametrize("status", ["accepted", "stale", "rejected"])
def test_an_acknowledged_result_is_forgotten(status: str) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    talk.hears(type="job_ack", job_id="job-1", attempt=1, status=status)
    assert talk.reconnects().active_jobs == []
    assert talk.is_welcomed() == []


def test_the_reason_why_a_result_was_rejected_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    caplog.clear()
    talk.hears(type="job_ack", job_id="job-1", attempt=1, status="rejected", reason="bad_signature")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "The result of job job-1 attempt 1 was not taken: bad_signature"


def test_an_unknown_acknowledgement_is_not_taken_for_one(caplog: pytest.LogCaptureFixture) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    talk.hears(type="job_ack", job_id="job-1", attempt=1, status="perhaps")
    assert "perhaps" in caplog.text
    assert talk.session.held == [AttemptKey("job-1", 1)]


def test_a_coordinator_that_counts_no_attempts_gets_every_result_once() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=None)
    assert len(frames(talk.finishes(attempt=None))) == 1
    assert talk.reconnects().active_jobs == []
    assert talk.is_welcomed() == []


def test_a_failure_needs_no_acknowledgement() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert len(frames(talk.finishes(outcome=LOST))) == 1
    assert talk.session.held == []


def test_a_failure_while_disconnected_is_told_after_reconnecting() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(Disconnected("gone"))
    assert talk.finishes(outcome=LOST) == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.active_jobs == [HeldJob("job-1", 1)]
    (failed,) = frames(talk.is_welcomed())
    assert isinstance(failed, JobFailed)


def test_results_are_not_sent_again_when_models_change() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    talk.happens(ModelsChanged((LLAMA,)))
    assert talk.is_welcomed() == []


# Connections


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


# Frames that are not understood


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


# Whatever happens

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
