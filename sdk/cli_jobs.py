"""The commands ``quote``, ``status`` and ``cancel``."""

from __future__ import annotations

import argparse

import msgspec

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.sealing import is_sealed_result
from compute_router.protocol.units import format_usd
from compute_router.sdk.cli_client import answer_timeout_s, open_asking_client, reply_key_files
from compute_router.sdk.cli_output import (
    payment_line,
    pretty_json,
    print_json,
    printable,
    say,
    write_bytes,
)
from compute_router.sdk.errors import JobFailedError
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.reply_key_files import ReplyKeyFiles
from compute_router.sdk.sealing import open_answer
from compute_router.sdk.snapshots import JobSnapshot, job_failure


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


def status(arguments: argparse.Namespace) -> ExitCode:
    """Print what the coordinator knows about a job."""
    with open_asking_client(arguments) as router:
        snapshot = router.job(arguments.job_id)
    if arguments.json:
        write_bytes(snapshot.answer_json)
    else:
        _describe(snapshot, reply_key_files(arguments))
    if snapshot.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        return ExitCode.FAILED
    if snapshot.status is JobStatus.COMPLETED and not snapshot.verify().verified:
        return ExitCode.FAILED
    return ExitCode.OK


def cancel(arguments: argparse.Namespace) -> ExitCode:
    """Cancel a job. It succeeds again when it is repeated."""
    with open_asking_client(arguments) as router:
        snapshot = router.cancel(arguments.job_id, answer_timeout_s(arguments))
    if arguments.json:
        write_bytes(snapshot.answer_json)
    else:
        print(f"{printable(snapshot.job_id)} cancelled")
    return ExitCode.OK


def _describe(snapshot: JobSnapshot, reply_keys: ReplyKeyFiles) -> None:
    answer = snapshot.answer
    print(f"job        {printable(answer.id)}")
    print(f"status     {answer.status.value}")
    print(f"created    {printable(answer.created_at)}")
    if answer.completed_at is not None:
        print(f"completed  {printable(answer.completed_at)}")
    if snapshot.payment is not None:
        print(f"payment    {printable(payment_line(snapshot.payment))}")
    if snapshot.status is JobStatus.COMPLETED:
        _describe_result(snapshot, reply_keys)
    elif snapshot.ended:
        _describe_failure(snapshot)
        reply_keys.drop(snapshot.job_id)


def _describe_result(snapshot: JobSnapshot, reply_keys: ReplyKeyFiles) -> None:
    verification = snapshot.verify()
    receipt = "verified" if verification.verified else f"NOT VERIFIED: {verification.error}"
    print(f"receipt    {printable(receipt)}")
    if verification.receipt is not None:
        proven = "" if verification.verified else " (only claimed)"
        print(f"worker     {verification.receipt.provider_pubkey}{proven}")
    reply_key = reply_keys.handle(snapshot.job_id).reply_key
    if reply_key is not None:
        output_json, _ = open_answer(snapshot.answer, reply_key)
        print(printable(pretty_json(msgspec.Raw(output_json))), flush=True)
        reply_keys.drop(snapshot.job_id)
        say("The result was sealed. The key to it is deleted now, so this was the only look at it.")
    elif is_sealed_result(snapshot.result_json):
        print("result     sealed; the key to it is where the job was submitted, until it was read there")
    else:
        print(printable(pretty_json(snapshot.answer.result)))


def _describe_failure(snapshot: JobSnapshot) -> None:
    failure = job_failure(snapshot)
    print(f"reason     {printable(str(failure))}")
    if isinstance(failure, JobFailedError) and failure.last_reason is not None:
        print(f"last       {printable(failure.last_reason)}")
    if isinstance(failure, JobFailedError) and failure.detail is not None:
        print(f"detail     {printable(failure.detail)}")
