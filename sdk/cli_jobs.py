"""The commands ``quote``, ``run`` and ``status``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import Policy, PrivacyClass, TaskType
from compute_router.protocol.units import format_usd
from compute_router.sdk.cli_client import open_asking_client, open_client
from compute_router.sdk.cli_output import (
    facts_line,
    pretty_json,
    print_json,
    printable,
    proof_sentence,
    result_document,
    result_text,
    say,
    write_bytes,
)
from compute_router.sdk.cli_spinner import Spinner
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.jobs import LlmJob, TaskJob
from compute_router.sdk.results import LlmResult, TaskResult
from compute_router.sdk.rhythm import LONGEST_WAIT_S
from compute_router.sdk.snapshots import JobSnapshot, job_failure

_LLM_TIMEOUT_S = 60.0
_TASK_TIMEOUT_S = 30.0
_SPINNING_WAIT_S = 1  # a state can only be shown as often as it is asked for


def quote(arguments: argparse.Namespace) -> ExitCode:
    """Print the price of a job."""
    with open_asking_client(arguments) as router:
        found = router.quote(arguments.job_type, arguments.policy)
    if arguments.json:
        document = msgspec.structs.asdict(found)
        print_json(document | {"price": format_usd(found.price)})
    else:
        network = printable(found.network)
        print(f"{format_usd(found.price)}  {arguments.job_type} {found.tier.value} on {network}")
    return ExitCode.OK


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run a job and print its result."""
    job = _job(arguments)
    if arguments.no_wait:
        return _submit(arguments, job)
    started_at = time.monotonic()
    with Spinner() as spinner:
        result = _run(arguments, job, spinner)
    if arguments.json:
        print_json(result_document(result))
    else:
        print(result_text(result), flush=True)
        say(proof_sentence(result))
        say(facts_line(result, time.monotonic() - started_at))
    return ExitCode.OK if result.verified else ExitCode.FAILED


def status(arguments: argparse.Namespace) -> ExitCode:
    """Print what the coordinator knows about a job."""
    with open_asking_client(arguments) as router:
        snapshot = router.job(arguments.job_id)
    if arguments.json:
        write_bytes(snapshot.answer_json)
    else:
        _describe(snapshot)
    if snapshot.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        return ExitCode.FAILED
    if snapshot.status is JobStatus.COMPLETED and not snapshot.verify().verified:
        return ExitCode.FAILED
    return ExitCode.OK


def _job(arguments: argparse.Namespace) -> LlmJob | TaskJob:
    text = _read_text(arguments.text)
    policy = Policy(arguments.policy)
    privacy = PrivacyClass.PRIVATE if arguments.private else PrivacyClass.PUBLIC
    if arguments.kind == "llm":
        return LlmJob(text, arguments.max_tokens, arguments.model, policy, privacy)
    return TaskJob(TaskType(arguments.task_type), text, policy, privacy)


def _submit(arguments: argparse.Namespace, job: LlmJob | TaskJob) -> ExitCode:
    with open_client(arguments) as router:
        job_id = router.submit(job)
    if arguments.json:
        print_json({"job_id": job_id})
    else:
        print(printable(job_id))
    return ExitCode.OK


def _run(arguments: argparse.Namespace, job: LlmJob | TaskJob, spinner: Spinner) -> LlmResult | TaskResult:
    longest_wait_s = _SPINNING_WAIT_S if spinner.active else LONGEST_WAIT_S
    with open_client(arguments, longest_wait_s) as router:
        if isinstance(job, LlmJob):
            return router.run_llm(
                job.prompt,
                max_tokens=job.max_tokens,
                model=job.model,
                policy=job.policy,
                privacy=job.privacy,
                timeout_s=_LLM_TIMEOUT_S if arguments.timeout is None else arguments.timeout,
                on_status=spinner.show,
            )
        return router.run_task(
            job.task_type,
            job.input,
            policy=job.policy,
            privacy=job.privacy,
            timeout_s=_TASK_TIMEOUT_S if arguments.timeout is None else arguments.timeout,
            on_status=spinner.show,
        )


def _describe(snapshot: JobSnapshot) -> None:
    answer = snapshot.answer
    print(f"job        {printable(answer.id)}")
    print(f"status     {answer.status.value}")
    print(f"created    {printable(answer.created_at)}")
    if answer.completed_at is not None:
        print(f"completed  {printable(answer.completed_at)}")
    if snapshot.status is JobStatus.COMPLETED:
        verification = snapshot.verify()
        print(f"receipt    {'verified' if verification.verified else f'NOT VERIFIED: {verification.error}'}")
        if verification.receipt is not None:
            proven = "" if verification.verified else " (only claimed)"
            print(f"worker     {verification.receipt.provider_pubkey}{proven}")
        print(printable(pretty_json(answer.result)))
    elif snapshot.ended:
        print(f"reason     {printable(str(job_failure(snapshot)))}")


def _read_text(argument: str) -> str:
    if argument == "-":
        return sys.stdin.read()
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"The input file cannot be read: {error}") from None
