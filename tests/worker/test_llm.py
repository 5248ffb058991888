"""Inference: the real Ollama client against a server that plays Ollama."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from compute_router.protocol.jobs import JobType
from compute_router.protocol.units import DurationMs
from compute_router.worker.executors.llm import Generated, Prompt, generate
from compute_router.worker.executors.runner import JobRunner
from compute_router.worker.jobs import Assignment, AttemptKey, JobError
from compute_router.worker.stopping import JobStoppedError, StopSign
from tests.fakes.ollama_server import (
    PATIENCE_SECONDS,
    AnswerStream,
    Gate,
    OllamaServer,
    Script,
    UntilLeft,
    saying,
)

MODEL = "played:latest"
HELLO = Prompt(MODEL, "Say hello", 16)
# Stopping takes milliseconds; the rest is for machines that do other things too.
STOPS_WITHIN_SECONDS = 2.0


@pytest.fixture
def ollama() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


def unheard(chunk: str) -> None:
    """Chunks that the test does not look at."""


def ask(
    ollama: OllamaServer,
    prompt: Prompt = HELLO,
    stop: StopSign | None = None,
    tell_chunk: Callable[[str], None] = unheard,
    **limits: DurationMs,
) -> Generated:
    return generate(ollama.url, prompt, stop or StopSign(), tell_chunk, **limits)


def failure_of(ollama: OllamaServer, script: Script) -> tuple[str, bool]:
    ollama.script = script
    with pytest.raises(JobError) as failed:
        ask(ollama)
    return failed.value.failure.code, failed.value.failure.retryable


def test_the_pieces_of_the_answer_are_put_together(ollama: OllamaServer) -> None:
    assert ask(ollama) == Generated("Hello world", MODEL)


def test_prompt_and_bound_on_tokens_reach_ollama(ollama: OllamaServer) -> None:
    ask(ollama)
    (request,) = ollama.requests
    assert (request["model"], request["prompt"], request["stream"]) == (MODEL, "Say hello", True)
    assert request["options"] == {"num_predict": 16}


def test_without_a_bound_on_tokens_ollama_uses_its_own(ollama: OllamaServer) -> None:
    ask(ollama, Prompt(MODEL, "Say hello", None))
    assert "num_predict" not in ollama.requests[0].get("options", {})


def test_the_environment_cannot_send_a_prompt_elsewhere(
    ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OLLAMA_HOST", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(ollama).text == "Hello world"


def test_a_missing_model_is_said(ollama: OllamaServer) -> None:
    with pytest.raises(JobError, match="no model absent") as failed:
        ask(ollama, Prompt("absent", "Say hello", 16))
    assert (failed.value.failure.code, failed.value.failure.retryable) == ("model_unavailable", True)


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "kimi:cloud"])
def test_a_prompt_is_never_given_to_a_model_in_the_cloud(ollama: OllamaServer, model: str) -> None:
    ollama.models.append(model)
    with pytest.raises(JobError, match="does not run on this machine"):
        ask(ollama, Prompt(model, "Say hello", 16))
    assert ollama.requests == []


def test_ollama_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(JobError) as failed:
            generate(f"http://127.0.0.1:{nobody.getsockname()[1]}", HELLO, StopSign(), unheard)
    assert failed.value.failure.code == "ollama_unreachable"
    assert failed.value.failure.retryable


def test_an_error_before_the_answer_is_a_failure(ollama: OllamaServer) -> None:
    assert failure_of(ollama, lambda stream: stream.status(500, "out of memory")) == ("ollama_error", True)


def test_ollama_that_takes_no_more_requests_is_unreachable_for_now(ollama: OllamaServer) -> None:
    code = failure_of(ollama, lambda stream: stream.status(503, "server busy, please try again"))
    assert code == ("ollama_unreachable", True)


def test_an_error_in_the_middle_of_the_answer_is_a_failure(ollama: OllamaServer) -> None:
    def play(stream: AnswerStream) -> None:
        stream.begin()
        stream.part("Hel")
        stream.line(json.dumps({"error": "runner crashed"}))
        stream.end()

    assert failure_of(ollama, play) == ("ollama_error", True)


def test_a_connection_lost_in_the_middle_of_the_answer_is_a_failure(ollama: OllamaServer) -> None:
    def play(stream: AnswerStream) -> None:
        stream.begin()
        stream.part("Hel")
        stream.hang_up()

    assert failure_of(ollama, play) == ("ollama_incomplete", True)


def test_an_answer_that_ends_before_the_model_is_done_is_a_failure(ollama: OllamaServer) -> None:
    def play(stream: AnswerStream) -> None:
        stream.begin()
        stream.part("Hel")
        stream.end()

    assert failure_of(ollama, play) == ("ollama_incomplete", True)


@pytest.mark.parametrize("pieces", [(), ("",), (" ", "\n")])
def test_an_empty_answer_is_a_failure(ollama: OllamaServer, pieces: tuple[str, ...]) -> None:
    assert failure_of(ollama, saying(*pieces)) == ("empty_answer", True)


@pytest.mark.parametrize("line", ["not json", "[]", "5", '{"response": 5}', '{"done": "maybe"}'])
def test_a_line_that_is_not_ollamas_is_a_failure(ollama: OllamaServer, line: str) -> None:
    def play(stream: AnswerStream) -> None:
        stream.begin()
        stream.line(line)
        stream.end()

    assert failure_of(ollama, play) == ("ollama_error", True)


def test_a_model_that_says_nothing_for_too_long_is_given_up(ollama: OllamaServer) -> None:
    ollama.script = stalled = UntilLeft("Hel")
    with pytest.raises(JobError) as failed:
        ask(ollama, silence_limit=DurationMs(200))
    assert (failed.value.failure.code, failed.value.failure.retryable) == ("ollama_stalled", True)
    assert stalled.left.wait(PATIENCE_SECONDS)


def test_a_model_that_talks_past_a_limit_is_stopped(ollama: OllamaServer) -> None:
    def talk_for_ever(stream: AnswerStream) -> None:
        stream.begin()
        while True:
            stream.part("blah ")

    ollama.script = talk_for_ever
    with pytest.raises(JobError) as failed:
        ask(ollama, limit=DurationMs(200))
    assert failed.value.failure.code == "deadline_exceeded"


# Chunks


def test_chunks_together_are_the_answer(ollama: OllamaServer) -> None:
    ollama.script = saying("Hel", "lo", "", " wor", "ld")
    chunks: list[str] = []
    answer = ask(ollama, tell_chunk=chunks.append)
    assert "".join(chunks) == answer.text == "Hello world"


def test_a_chunk_comes_while_the_model_still_talks(ollama: OllamaServer) -> None:
    ollama.script = gate = Gate("Hel", "lo")

    def on_chunk(chunk: str) -> None:
        chunks.append(chunk)
        gate.open()

    chunks: list[str] = []
    ask(ollama, tell_chunk=on_chunk)
    assert chunks == ["Hel", "lo"]


# Stopping


@pytest.mark.parametrize("pieces", [(), ("Hel",)], ids=["before the answer", "in the answer"])
def test_a_stopped_job_closes_its_connection_to_ollama_at_once(
    ollama: OllamaServer, pieces: tuple[str, ...]
) -> None:
    ollama.script = talk = UntilLeft(*pieces)
    stop = StopSign()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(ask, ollama, stop=stop)
        assert talk.reached.wait(PATIENCE_SECONDS)
        asked_at = time.monotonic()
        stop.stop()
        assert talk.left.wait(PATIENCE_SECONDS)
        with pytest.raises(JobStoppedError):
            running.result(PATIENCE_SECONDS)
        assert time.monotonic() - asked_at < STOPS_WITHIN_SECONDS


def test_a_job_stopped_before_it_began_asks_ollama_nothing(ollama: OllamaServer) -> None:
    stop = StopSign()
    stop.stop()
    with pytest.raises(JobStoppedError):
        ask(ollama, stop=stop)
    assert ollama.requests == []


def test_stopping_a_job_that_is_done_changes_nothing(ollama: OllamaServer) -> None:
    stop = StopSign()
    answer = ask(ollama, stop=stop)
    stop.stop()
    assert answer.text == "Hello world"


# The runner


def job(job_type: JobType, payload: bytes, model: str | None = None) -> Assignment:
    return Assignment(AttemptKey("job", 1), job_type, payload, model)


def run(assignment: Assignment, ollama_url: str = "http://127.0.0.1:9") -> bytes:
    return JobRunner(ollama_url).run(assignment, StopSign(), unheard)


@pytest.mark.parametrize(
    ("payload", "output"),
    [
        (b'{"task_type":"summarize","input":"Short text."}', {"summary": "Short text.", "word_count": 2}),
        (b'{"task_type":"classify","input":"awful"}', {"sentiment": "negative", "confidence": 1.0}),
        (
            b'{"task_type":"extract_json","input":"a {\\"b\\":[1]} c"}',
            {"extracted": [{"b": [1]}], "count": 1},
        ),
    ],
)
def test_every_task_has_its_own_keys(payload: bytes, output: object) -> None:
    assert json.loads(run(job(JobType.TASK, payload))) == output


def test_inference_goes_to_the_named_model(ollama: OllamaServer) -> None:
    answer = run(job(JobType.LLM_INFER, b'{"prompt":"hi","max_tokens":5}', MODEL), ollama.url)
    assert answer == b'{"text":"Hello world","model":"played:latest"}'


@pytest.mark.parametrize(
    ("job_type", "payload"),
    [
        (JobType.TASK, b'{"prompt":"hi"}'),
        (JobType.TASK, b'{"task_type":"paint","input":"x"}'),
        (JobType.LLM_INFER, b'{"prompt":""}'),
        (JobType.LLM_INFER, b"\xff"),
        (JobType.LLM_INFER, b"null"),
    ],
)
def test_a_payload_that_cannot_be_read_is_nobodys_job(job_type: JobType, payload: bytes) -> None:
    with pytest.raises(JobError) as failed:
        run(job(job_type, payload, MODEL))
    assert (failed.value.failure.code, failed.value.failure.retryable) == ("invalid_payload", False)


def test_inference_without_any_model_is_a_failure() -> None:
    with pytest.raises(JobError, match="serves no model"):
        run(job(JobType.LLM_INFER, b'{"prompt":"hi"}'))
