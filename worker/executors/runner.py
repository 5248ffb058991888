"""Running a job of any kind."""

from __future__ import annotations

import msgspec

from compute_router.protocol.jobs import LlmInferPayload, TaskPayload, TaskType, decode_payload
from compute_router.worker.executors.classify import Sentiment, SentimentClassifier
from compute_router.worker.executors.extract_json import Extraction, extract_json
from compute_router.worker.executors.llm import Generated, generate
from compute_router.worker.executors.summarize import Summary, summarize
from compute_router.worker.jobs import Assignment, JobError


class JobRunner:
    """Turns assignments into outputs. Can be used from several threads."""

    def __init__(self, ollama_url: str) -> None:
        self._ollama_url = ollama_url
        self._classifier = SentimentClassifier()

    def run(self, assignment: Assignment) -> bytes:
        """The output as compact JSON.

        Raises:
            JobError: the job cannot be done; the error says why and whether another worker should try.
        """
        try:
            payload = decode_payload(assignment.job_type, assignment.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise JobError(
                "invalid_payload", f"The payload cannot be read: {error}", retryable=False
            ) from error
        return msgspec.json.encode(self._output(assignment, payload))

    def _output(
        self, assignment: Assignment, payload: LlmInferPayload | TaskPayload
    ) -> Generated | Summary | Sentiment | Extraction:
        if isinstance(payload, TaskPayload):
            return self._run_task(payload)
        if assignment.model is None:
            raise JobError("model_unavailable", "This worker serves no model.", retryable=True)
        return generate(
            self._ollama_url, assignment.model, payload.prompt, payload.max_tokens, assignment.lease
        )

    def _run_task(self, task: TaskPayload) -> Summary | Sentiment | Extraction:
        match task.task_type:
            case TaskType.SUMMARIZE:
                return summarize(task.input)
            case TaskType.CLASSIFY:
                return self._classifier.classify(task.input)
            case TaskType.EXTRACT_JSON:
                return extract_json(task.input)
