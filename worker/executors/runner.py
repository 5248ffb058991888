"""Running a job of any kind."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from compute_router.protocol.jobs import LlmInferPayload, TaskPayload, TaskType, decode_payload
from compute_router.worker.executors.classify import Sentiment, SentimentClassifier
from compute_router.worker.executors.extract_json import Extraction, extract_json
from compute_router.worker.executors.llm import (
    MODEL_UNAVAILABLE,
    UNCANCELLABLE_LIMIT,
    Generated,
    Prompt,
    generate,
)
from compute_router.worker.executors.summarize import Summary, summarize
from compute_router.worker.jobs import Assignment, JobError
from compute_router.worker.stopping import CheckPoint, StopSign


class JobRunner:
    """Turns assignments into outputs. Can be used from several threads."""

    def __init__(self, ollama_url: str) -> None:
        self._ollama_url = ollama_url
        self._classifier = SentimentClassifier()

    def run(self, assignment: Assignment, stop: StopSign, tell_chunk: Callable[[str], None]) -> bytes:
        """The output as compact JSON. Answers of a model are also told in chunks while they grow.

        Raises:
            JobStoppedError: ``stop`` was raised.
            JobError: the job cannot be done; the error says why and whether another worker should try.
        """
        try:
            payload = decode_payload(assignment.job_type, assignment.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise JobError(
                "invalid_payload", f"The payload cannot be read: {error}", retryable=False
            ) from error
        return msgspec.json.encode(self._output(assignment, payload, stop, tell_chunk))

    def _output(
        self,
        assignment: Assignment,
        payload: LlmInferPayload | TaskPayload,
        stop: StopSign,
        tell_chunk: Callable[[str], None],
    ) -> Generated | Summary | Sentiment | Extraction:
        if isinstance(payload, TaskPayload):
            return self._run_task(payload, stop.check)
        if assignment.model is None:
            raise JobError(MODEL_UNAVAILABLE, "This worker serves no model.", retryable=True)
        # A coordinator that counts no attempts cannot cancel one either.
        limit = UNCANCELLABLE_LIMIT if assignment.key.attempt is None else None
        prompt = Prompt(assignment.model, payload.prompt, payload.max_tokens)
        return generate(self._ollama_url, prompt, stop, tell_chunk, limit=limit)

    def _run_task(self, task: TaskPayload, check: CheckPoint) -> Summary | Sentiment | Extraction:
        match task.task_type:
            case TaskType.SUMMARIZE:
                return summarize(task.input, check)
            case TaskType.CLASSIFY:
                return self._classifier.classify(task.input, check)
            case TaskType.EXTRACT_JSON:
                return extract_json(task.input, check)
