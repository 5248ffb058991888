"""How a job is run, apart from what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import msgspec

from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.jobs import PolicyName, PrivacyName
from compute_router.sdk.sealing import JobHandle, ReplyKey

StatusObserver = Callable[[JobStatus], None]
"""Told the job's status after every look at it."""

SubmissionObserver = Callable[[JobHandle], None]
"""Told the job's id as soon as the coordinator has the job; a sealed job's id has the key to its result."""

RetryObserver = Callable[[str], None]
"""Told in a sentence what failed, before the pause after which it is tried again."""

SealObserver = Callable[[ReplyKey], None]
"""Told the key to a sealed job's result before the job is sent. What it raises stops the submission."""


class RunOptions(msgspec.Struct, frozen=True):
    """How a job is submitted and waited for.

    ``timeout_s`` runs from the start of the call: quote, submission, all repeats and the waiting share it. A
    request that is under way when it ends is still given its own time-out. ``idempotency_key`` None makes
    a new one.
    """

    timeout_s: float
    idempotency_key: str | None = None
    cancel_on_timeout: bool = False
    on_status: StatusObserver | None = None
    on_submitted: SubmissionObserver | None = None
    on_sealed: SealObserver | None = None


class TaskOptions(TypedDict, total=False):
    """The keyword arguments that ``run_task`` has for every task type."""

    policy: PolicyName
    privacy: PrivacyName
    sealed: bool
    ttl_s: float | None
    deadline_s: float | None
    timeout_s: float
    idempotency_key: str | None
    cancel_on_timeout: bool
    on_status: StatusObserver | None
    on_submitted: SubmissionObserver | None
    on_sealed: SealObserver | None
