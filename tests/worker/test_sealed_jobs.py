"""What a worker does with sealed jobs, and that nothing of them gets out unsealed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import msgspec
import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.messages import JobAssign, Model
from compute_router.protocol.receipts import public_key_hex
from compute_router.protocol.sealing import SealBinding, open_result, seal_payload
from compute_router.protocol.units import UnixMs
from compute_router.worker.execution import run_to_outcome
from compute_router.worker.executors.runner import JobRunner
from compute_router.worker.jobs import Assignment, AttemptKey, Failed, JobError, Outcome, Output
from compute_router.worker.sealed_jobs import SealedJobRunner
from compute_router.worker.session_events import RunJob
from compute_router.worker.stopping import StopSign
from compute_router.worker.workload import Workload

KEY = SigningKey(b"w" * 32)
OTHER_KEY = SigningKey(b"o" * 32)
REPLY_SECRET = PrivateKey(b"r" * 32)
REPLY_TO = REPLY_SECRET.public_key.encode().hex()
SECRET = "tangerine dream"
PLAIN = msgspec.json.encode({"task_type": "classify", "input": SECRET})
OUTPUT = b'{"text":"tangerine"}'
BINDING = SealBinding("solana:devnet", JobType.TASK, "alice", None)


class RecordingRunner:
    """Runs every job to the same end, tells chunks, and remembers the payloads."""

    def __init__(self, end: bytes | Exception = OUTPUT) -> None:
        self._end = end
        self.payloads: list[bytes] = []

    def run(self, assignment: Assignment, stop: StopSign, tell_chunk: Callable[[str], None]) -> bytes:
        self.payloads.append(assignment.payload)
        tell_chunk(SECRET)
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


def sealed_payload(key: SigningKey = KEY, plain: bytes = PLAIN) -> bytes:
    return seal_payload(plain, BINDING, [public_key_hex(key)], REPLY_TO)


def assigned(payload: bytes, binding: SealBinding | None = BINDING) -> Assignment:
    return Assignment(AttemptKey("job", 1), JobType.TASK, payload, binding=binding)


def outcome_of(
    assignment: Assignment, runner: RecordingRunner | JobRunner, chunks: list[str] | None = None
) -> Outcome:
    told = [] if chunks is None else chunks
    return run_to_outcome(SealedJobRunner(runner, KEY), assignment, StopSign(), told.append)


def test_a_sealed_job_is_opened_run_and_its_output_sealed_to_the_seeker() -> None:
    runner = RecordingRunner()
    outcome = outcome_of(assigned(sealed_payload()), runner)
    assert runner.payloads == [PLAIN]
    assert isinstance(outcome, Output)
    assert b"tangerine" not in outcome.json
    assert open_result(outcome.json, REPLY_SECRET) == OUTPUT


def test_a_plain_private_job_runs_as_ever_with_its_chunks() -> None:
    chunks: list[str] = []
    outcome = outcome_of(assigned(PLAIN), RecordingRunner(), chunks)
    assert isinstance(outcome, Output)
    assert (outcome.json, chunks) == (OUTPUT, [SECRET])


def test_a_sealed_job_tells_no_chunks_for_they_would_not_be_sealed() -> None:
    chunks: list[str] = []
    outcome_of(assigned(sealed_payload()), RecordingRunner(), chunks)
    assert chunks == []


UNREADABLE = {
    "sealed to another worker": assigned(sealed_payload(OTHER_KEY)),
    "another user": assigned(sealed_payload(), msgspec.structs.replace(BINDING, user_id="mallory")),
    "another network": assigned(sealed_payload(), msgspec.structs.replace(BINDING, network="eip155:1")),
    "another model": assigned(sealed_payload(), msgspec.structs.replace(BINDING, model="llama")),
    "no network": assigned(sealed_payload(), None),
    "tampered": assigned(sealed_payload().replace(b'"ciphertext":"', b'"ciphertext":"AAAA')),
    "not the form": assigned(b'{"sealed":"v1"}'),
    "another version": assigned(b'{"sealed":"v9","task_type":"classify","input":"x"}'),
}


@pytest.mark.parametrize("assignment", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_opened_is_not_run_and_another_worker_may_try(assignment: Assignment) -> None:
    runner = RecordingRunner()
    outcome = outcome_of(assignment, runner)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable) == ("sealed_unreadable", True)
    assert runner.payloads == []


@pytest.mark.parametrize(
    "plain", [b'{"task_type":"classify","input":""}', b'{"prompt":"tangerine"}', b"tangerine", b"{}"]
)
def test_what_is_inside_is_checked_like_a_plain_payload_and_the_complaint_does_not_quote_it(
    plain: bytes,
) -> None:
    outcome = outcome_of(assigned(resealed(plain)), JobRunner("http://127.0.0.1:9"))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable) == ("invalid_payload", False)
    assert "tangerine" not in outcome.message


def resealed(plain: bytes) -> bytes:
    """A payload with something inside that no honest seeker seals."""
    padded = json.dumps({"task_type": "classify", "input": "x"}).encode()
    assert seal_payload(padded, BINDING, [public_key_hex(KEY)], REPLY_TO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compute_router.protocol.sealing.decode_payload", lambda *_: None)
        return seal_payload(plain, BINDING, [public_key_hex(KEY)], REPLY_TO)


def test_a_sealed_payload_inside_a_sealed_payload_is_no_payload() -> None:
    outcome = outcome_of(assigned(resealed(sealed_payload())), JobRunner("http://127.0.0.1:9"))
    assert isinstance(outcome, Failed)
    assert outcome.code == "invalid_payload"


def test_a_failure_of_a_sealed_job_tells_its_code_and_nothing_that_could_quote_the_job() -> None:
    error = JobError("ollama_error", f"Ollama reports: cannot parse {SECRET}", retryable=True)
    outcome = outcome_of(assigned(sealed_payload()), RecordingRunner(error))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable) == ("ollama_error", True)
    assert SECRET not in outcome.message


@pytest.mark.parametrize("payload", [PLAIN, sealed_payload()], ids=["plain", "sealed"])
def test_no_log_line_of_a_failed_job_quotes_it(payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    error = JobError("ollama_error", f"Ollama reports: cannot parse {SECRET}", retryable=True)
    with caplog.at_level(logging.DEBUG):
        outcome_of(assigned(payload), RecordingRunner(error))
    assert "ollama_error" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("payload", [PLAIN, sealed_payload()], ids=["plain", "sealed"])
def test_a_defect_is_logged_with_its_place_and_without_what_the_exception_says(
    payload: bytes, caplog: pytest.LogCaptureFixture, expected_errors: list[logging.LogRecord]
) -> None:
    outcome = outcome_of(assigned(payload), RecordingRunner(KeyError(SECRET)))
    assert outcome == Failed("internal_error", "The worker has a defect: KeyError", retryable=True)
    assert "KeyError" in caplog.text
    assert "in run\n" in caplog.text
    assert SECRET not in caplog.text
    assert len(expected_errors) == 1


def test_assignments_and_outputs_do_not_show_their_content() -> None:
    assert SECRET not in repr(assigned(PLAIN))
    assert "tangerine" not in repr(Output(OUTPUT, UnixMs(1)))


@pytest.mark.parametrize("asked_model", ["llama", None])
def test_the_binding_is_the_job_as_it_was_assigned_on_the_network_of_the_challenge(
    asked_model: str | None,
) -> None:
    frame = JobAssign(
        "job", JobType.LLM_INFER, msgspec.Raw(PLAIN), Tier.FAST, PrivacyClass.PRIVATE, "alice", 1, 60_000
    )
    assign = msgspec.structs.replace(frame, model=asked_model)
    effects = Workload(KEY, slots=1).assign(assign, [Model("default")], draining=False, network="net")
    [run] = [effect for effect in effects if isinstance(effect, RunJob)]
    assert run.assignment.binding == SealBinding("net", JobType.LLM_INFER, "alice", asked_model)
    assert run.assignment.model == (asked_model or "default")


def test_without_a_challenge_there_is_no_binding() -> None:
    frame = JobAssign("job", JobType.TASK, msgspec.Raw(PLAIN), Tier.CHEAP, PrivacyClass.PRIVATE, "alice", 1)
    [run] = Workload(KEY, slots=1).assign(frame, [], draining=False)
    assert isinstance(run, RunJob)
    assert run.assignment.binding is None
