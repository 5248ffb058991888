"""The jobs a seeker can ask for, checked before anything is sent."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from compute_router.protocol.http_api import Seconds
from compute_router.protocol.jobs import (
    JobType,
    LlmInferPayload,
    ModelName,
    Policy,
    PrivacyClass,
    TaskPayload,
    TaskType,
)
from compute_router.sdk.errors import InvalidArgumentError

E = TypeVar("E", Policy, PrivacyClass, TaskType, JobType)

PolicyName = Policy | Literal["FAST", "CHEAP", "AUTO"]
PrivacyName = PrivacyClass | Literal["PUBLIC", "PRIVATE"]
TaskName = TaskType | Literal["summarize", "classify", "extract_json"]
JobTypeName = JobType | Literal["LLM_INFER", "TASK"]


class LlmJob(msgspec.Struct, frozen=True):
    """Text generation from a prompt. ``model`` None lets the worker choose.

    ``ttl_s`` is how many seconds the job may wait for a worker, ``deadline_s`` how many it may run; None
    leaves them to the coordinator, which also bounds them. ``sealed`` concerns PRIVATE jobs only: sealed, the
    coordinator cannot read them.
    """

    prompt: str
    max_tokens: int | None = None
    model: str | None = None
    policy: PolicyName = Policy.AUTO
    privacy: PrivacyName = PrivacyClass.PUBLIC
    ttl_s: float | None = None
    deadline_s: float | None = None
    sealed: bool = True


class TaskJob(msgspec.Struct, frozen=True):
    """One of the built-in text tasks. What follows ``policy`` means what it means in :class:`LlmJob`."""

    task_type: TaskName
    input: str
    policy: PolicyName = Policy.AUTO
    privacy: PrivacyName = PrivacyClass.PUBLIC
    ttl_s: float | None = None
    deadline_s: float | None = None
    sealed: bool = True


Job = LlmJob | TaskJob


class CheckedJob(msgspec.Struct, frozen=True):
    """A job whose every part was understood. ``payload`` is what the worker will get."""

    job_type: JobType
    policy: Policy
    privacy: PrivacyClass
    payload: dict[str, Any]
    model: str | None = None
    ttl_s: float | None = None
    deadline_s: float | None = None
    sealed: bool = True


def check_job(job: Job) -> CheckedJob:
    """Understand a job.

    Raises:
        InvalidArgumentError: a value is unknown, empty or out of range.
    """
    policy = known_value(Policy, job.policy, "policy")
    privacy = known_value(PrivacyClass, job.privacy, "privacy class")
    for seconds in (job.ttl_s, job.deadline_s):
        _conforms(seconds, Seconds | None)
    _conforms(job.sealed, bool)
    if isinstance(job, TaskJob):
        task_type = known_value(TaskType, job.task_type, "task type")
        payload: dict[str, Any] = {"task_type": task_type.value, "input": job.input}
        _conforms(payload, TaskPayload)
        return CheckedJob(JobType.TASK, policy, privacy, payload, None, job.ttl_s, job.deadline_s, job.sealed)
    payload = {"prompt": job.prompt}
    if job.max_tokens is not None:
        payload["max_tokens"] = job.max_tokens
    _conforms(payload, LlmInferPayload)
    if job.model is not None:
        _conforms(job.model, ModelName)
    return CheckedJob(
        JobType.LLM_INFER, policy, privacy, payload, job.model, job.ttl_s, job.deadline_s, job.sealed
    )


def known_value(kind: type[E], value: E | str, what: str) -> E:
    """The enum member that a value names.

    Raises:
        InvalidArgumentError: it names none.
    """
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(member.value for member in kind)
        raise InvalidArgumentError(f"There is no {what} {value!r}; known are {names}.") from None


def _conforms(value: object, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(f"This job cannot be sent: {error}") from None
