"""The command ``verify``: check a job's receipt, from a saved answer without any connection."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.checks import Verdict, checks_of
from compute_router.sdk.cli_client import open_asking_client
from compute_router.sdk.cli_output import print_json, printable
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.snapshots import JobSnapshot, read_snapshot


def verify(arguments: argparse.Namespace) -> ExitCode:
    """Check a job and print each check."""
    snapshot = _snapshot(arguments)
    if snapshot.status is not JobStatus.COMPLETED:
        return _not_completed(arguments, snapshot)
    verification = snapshot.verify()
    checks = checks_of(verification)
    if arguments.json:
        print_json(
            {
                "job_id": snapshot.job_id,
                "verified": verification.verified,
                "error": verification.error.code if verification.error else None,
                "receipt": verification.receipt,
                "checks": {check.name: check.verdict is Verdict.PASSED for check in checks},
            }
        )
    else:
        print(f"job {printable(snapshot.job_id)}")
        for check in checks:
            print(f"  {check.verdict.value:<11}  {check.name:<9}  {printable(check.sentence)}")
        if verification.verified and verification.receipt:
            print(f"VERIFIED: made by worker {verification.receipt.provider_pubkey}")
        else:
            print("NOT VERIFIED")
    return ExitCode.OK if verification.verified else ExitCode.FAILED


def _snapshot(arguments: argparse.Namespace) -> JobSnapshot:
    target: str = arguments.target
    if target == "-":
        return read_snapshot(sys.stdin.buffer.read())
    if Path(target).is_file():
        return read_snapshot(_read_file(Path(target)))
    with open_asking_client(arguments) as router:
        try:
            return router.job(target)
        except InvalidArgumentError:
            raise InvalidArgumentError(f"{target!r} is neither a file nor a job id.") from None


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"The file cannot be read: {error}") from None


def _not_completed(arguments: argparse.Namespace, snapshot: JobSnapshot) -> ExitCode:
    sentence = f"The job is {snapshot.status.value}, so there is no result to verify."
    if arguments.json:
        print_json(
            {
                "job_id": snapshot.job_id,
                "verified": False,
                "error": "not_completed",
                "status": snapshot.status,
            }
        )
    else:
        print(f"job {printable(snapshot.job_id)}\n  {sentence}\nNOT VERIFIED")
    return ExitCode.FAILED
