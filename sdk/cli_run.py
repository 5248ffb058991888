"""The command ``run``."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.jobs import Policy, PrivacyClass, TaskType
from compute_router.sdk.cli_client import open_paying_client, reply_key_files
from compute_router.sdk.cli_output import (
    facts_line,
    print_json,
    printable,
    proof_sentence,
    result_document,
    result_text,
    say,
)
from compute_router.sdk.cli_spinner import Spinner
from compute_router.sdk.cli_streams import read_input_text
from compute_router.sdk.errors import InvalidArgumentError, JobFailedError
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.idempotency import checked_key
from compute_router.sdk.jobs import LlmJob, TaskJob
from compute_router.sdk.results import LlmResult, TaskResult
from compute_router.sdk.rhythm import LONGEST_WAIT_S
from compute_router.sdk.sealing import JobHandle, ReplyKey
from compute_router.sdk.sync_client import ComputeRouter

_LLM_TIMEOUT_S = 60.0
_TASK_TIMEOUT_S = 30.0
_SPINNING_WAIT_S = 1  # a state can only be shown as often as it is asked for


class _Run:
    """One run of the command: what was asked for, and how far it got."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.job = _job(arguments)
        self.key = checked_key(arguments.idempotency_key)
        self.job_id: JobHandle | None = None
        self.spinner = Spinner()
        self._unsent: ReplyKey | None = None
        self._waited = False
        default_s = _LLM_TIMEOUT_S if isinstance(self.job, LlmJob) else _TASK_TIMEOUT_S
        self.timeout_s: float = default_s if arguments.timeout is None else arguments.timeout
        self._reply_keys = reply_key_files(arguments)

    def sealed(self, key: ReplyKey) -> None:
        """Keep the key to a sealed result until it was shown, before anything is sent."""
        self._reply_keys.put(key)
        self._unsent = key

    def submitted(self, job_id: JobHandle) -> None:
        """Take note of the job's id."""
        self.job_id = job_id
        if self._unsent is not None:
            key, self._unsent = self._unsent, None
            self._reply_keys.name(key, job_id)

    def forget_unsent(self) -> None:
        """There is no job, or none that could be asked for: nobody needs the key to its result."""
        if self._unsent is not None:
            self._reply_keys.drop_unsent(self._unsent)

    def waits(self, because: str) -> None:
        """Say once why there is nothing to see yet."""
        if not self._waited and not self.arguments.json:
            self._waited = True
            self.spinner.above(f"This is tried for up to {self.timeout_s:g} s: {because}")

    def over(self) -> None:
        """The job has ended, and what there is of it is shown."""
        if self.job_id is not None:
            self._reply_keys.drop(self.job_id)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run a job and print its result."""
    this = _Run(arguments)
    try:
        return _submit(this) if arguments.no_wait else _run(this)
    finally:
        this.forget_unsent()


def _run(this: _Run) -> ExitCode:
    arguments = this.arguments
    started_at = time.monotonic()
    spinner = this.spinner
    longest_wait_s = _SPINNING_WAIT_S if spinner.active else LONGEST_WAIT_S
    with open_paying_client(arguments, this.waits, longest_wait_s) as router:
        try:
            with spinner:
                result = _result(this, router, spinner)
        except KeyboardInterrupt:
            return _interrupted(this, router)
        except JobFailedError:
            this.over()
            raise
    if arguments.json:
        print_json(result_document(result))
    else:
        print(result_text(result), flush=True)
        say(proof_sentence(result))
        say(facts_line(result, time.monotonic() - started_at))
    this.over()
    return ExitCode.OK if result.verified else ExitCode.FAILED


def _result(this: _Run, router: ComputeRouter, spinner: Spinner) -> LlmResult | TaskResult:
    job = this.job
    if isinstance(job, LlmJob):
        return router.run_llm(
            job.prompt,
            max_tokens=job.max_tokens,
            model=job.model,
            policy=job.policy,
            privacy=job.privacy,
            sealed=job.sealed,
            ttl_s=job.ttl_s,
            deadline_s=job.deadline_s,
            timeout_s=this.timeout_s,
            idempotency_key=this.key,
            on_status=spinner.show,
            on_submitted=this.submitted,
            on_sealed=this.sealed,
        )
    return router.run_task(
        job.task_type,
        job.input,
        policy=job.policy,
        privacy=job.privacy,
        sealed=job.sealed,
        ttl_s=job.ttl_s,
        deadline_s=job.deadline_s,
        timeout_s=this.timeout_s,
        idempotency_key=this.key,
        on_status=spinner.show,
        on_submitted=this.submitted,
        on_sealed=this.sealed,
    )


def _submit(this: _Run) -> ExitCode:
    with open_paying_client(this.arguments, this.waits) as router:
        try:
            job_id = router.submit(
                this.job, idempotency_key=this.key, timeout_s=this.timeout_s, on_sealed=this.sealed
            )
            this.submitted(job_id)
        except KeyboardInterrupt:
            return _interrupted(this, router)
    if this.arguments.json:
        print_json({"job_id": job_id})
    else:
        print(printable(job_id))
    return ExitCode.OK


def _interrupted(this: _Run, router: ComputeRouter) -> ExitCode:
    if this.job_id is None:
        sentence = (
            "Interrupted while submitting, so the job may or may not run."
            f" The same command with --idempotency-key {shlex.quote(this.key)} makes no second job"
            " at a coordinator that keeps such keys."
        )
    elif this.arguments.cancel_on_interrupt:
        sentence = _cancel(this.job_id, router)
    else:
        sentence = (
            f"Interrupted. Job {this.job_id} goes on: see compute-router status {this.job_id},"
            f" or end it by compute-router cancel {this.job_id}"
        )
    if this.arguments.json:
        document = {"error": "interrupted", "message": sentence, "idempotency_key": this.key}
        print_json(document if this.job_id is None else document | {"job_id": this.job_id})
    else:
        say(sentence)
    return ExitCode.INTERRUPTED


def _cancel(job_id: str, router: ComputeRouter) -> str:
    try:
        router.cancel(job_id)
    except ComputeRouterError as error:
        return f"Interrupted. Job {job_id} was not cancelled: {error}"
    return f"Interrupted. Job {job_id} was cancelled."


def _job(arguments: argparse.Namespace) -> LlmJob | TaskJob:
    text = _read_text(arguments.text)
    policy = Policy(arguments.policy)
    privacy = PrivacyClass.PRIVATE if arguments.private else PrivacyClass.PUBLIC
    sealed = not arguments.no_seal
    ttl_s, deadline_s = arguments.ttl, arguments.deadline
    if arguments.kind == "llm":
        tokens, model = arguments.max_tokens, arguments.model
        return LlmJob(text, tokens, model, policy, privacy, ttl_s, deadline_s, sealed)
    return TaskJob(TaskType(arguments.task_type), text, policy, privacy, ttl_s, deadline_s, sealed)


def _read_text(argument: str) -> str:
    if argument == "-":
        return read_input_text()
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"The input file cannot be read: {error}") from None
