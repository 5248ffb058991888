"""What a worker does with the jobs it is given."""

from __future__ import annotations

import json

import pytest

from compute_router.protocol.jobs import JobType
from compute_router.protocol.messages import JobComplete, JobFailed, JobReject, JobStarted, Model
from compute_router.protocol.receipts import (
    Receipt,
    SignedReceipt,
    decode_receipt,
    sha256_hex,
    verify_receipt,
    verify_signature,
)
from compute_router.protocol.units import UnixMs
from compute_router.worker.jobs import AttemptKey, Failed, Output
from compute_router.worker.result_frames import MAX_FRAME_BYTES
from compute_router.worker.session_events import FrameReceived, StopJob
from tests.worker.conversation import DONE, LLAMA, LOST, PUBKEY, QWEN, Conversation, frames, started_jobs


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
