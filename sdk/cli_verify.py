"""The commands ``receipt`` and ``verify``: get the proof of a job, and check one without any connection."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.checks import Verdict
from compute_router.sdk.cli_client import open_asking_client
from compute_router.sdk.cli_output import print_json, printable, say, write_bytes
from compute_router.sdk.cli_streams import read_input_bytes
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.proof_checks import Asked, Judgement, judge
from compute_router.sdk.proof_documents import (
    ProofDocument,
    document_of,
    output_in,
    read_document,
    request_in,
)
from compute_router.sdk.requests import is_job_id


def receipt(arguments: argparse.Namespace) -> ExitCode:
    """Fetch a receipt and print or save it, byte for byte."""
    with open_asking_client(arguments) as router:
        document = router.receipt(arguments.job_id)
    if arguments.save is None:
        write_bytes(document.document_json)
        return ExitCode.OK
    try:
        arguments.save.write_bytes(document.document_json)
    except OSError as error:
        raise InvalidArgumentError(f"The file cannot be written: {error}") from None
    say(f"Saved. Check it with: compute-router verify {shlex.quote(str(arguments.save))}")
    return ExitCode.OK


def verify(arguments: argparse.Namespace) -> ExitCode:
    """Check a proof and print each check."""
    # Before anything is fetched, because a file may be missing.
    output = None if arguments.output is None else output_in(_read_file(arguments.output))
    request = None if arguments.request is None else request_in(_read_file(arguments.request))
    document = _document(arguments)
    if document.status is not JobStatus.COMPLETED:
        return _not_completed(arguments, document)
    asked = Asked(output=output, request=request, coordinator_key=arguments.coordinator_key)
    judgement = judge(document, asked)
    if arguments.json:
        _print_json(document, judgement)
    else:
        _print(document, judgement)
    return ExitCode.OK if judgement.error is None else ExitCode.FAILED


def _document(arguments: argparse.Namespace) -> ProofDocument:
    target: str = arguments.target
    if target == "-":
        return read_document(read_input_bytes())
    # Unlike Path.exists, this has no errors of its own.
    if os.path.exists(target):
        return read_document(_read_file(Path(target)))
    if not is_job_id(target):
        raise InvalidArgumentError(f"There is no such file: {target!r}. It is no job id either.")
    with open_asking_client(arguments) as router:
        if arguments.coordinator_key is not None:
            return read_document(router.receipt(target).document_json)
        return document_of(router.job(target).answer)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"The file cannot be read: {error}") from None


def _print_json(document: ProofDocument, judgement: Judgement) -> None:
    error = judgement.error
    answer = {
        "job_id": _job_id(document, judgement),
        "verified": error is None,
        "error": error.code if error else None,
        "receipt": judgement.receipt,
        "checks": {check.name: check.verdict is Verdict.PASSED for check in judgement.checks},
        "sentences": {check.name: check.sentence for check in judgement.checks},
        "payment_ref": document.payment_ref,
    }
    print_json(answer | ({"hint": judgement.hint} if judgement.hint else {}))


def _print(document: ProofDocument, judgement: Judgement) -> None:
    job_id = _job_id(document, judgement)
    if job_id is not None:
        print(f"job {printable(job_id)}")
    for check in judgement.checks:
        print(f"  {check.verdict.value:<11}  {check.name:<9}  {printable(check.sentence)}")
    if document.payment_ref is not None:
        print(f"  paid by {printable(document.payment_ref)}, says the coordinator: look it up on the chain")
    if judgement.hint is not None:
        print(judgement.hint)
    if judgement.error is not None:
        print("NOT VERIFIED")
        return
    assert judgement.receipt is not None, "what passed names its signer"
    passed = {check.name for check in judgement.checks if check.verdict is Verdict.PASSED}
    what = "made by worker" if passed & {"hash", "output"} else "the receipt, but no output: by worker"
    print(f"VERIFIED: {what} {judgement.receipt.provider_pubkey}")


def _job_id(document: ProofDocument, judgement: Judgement) -> str | None:
    if document.job_id is not None:
        return document.job_id
    return None if judgement.receipt is None else judgement.receipt.job_id


def _not_completed(arguments: argparse.Namespace, document: ProofDocument) -> ExitCode:
    job_id = document.job_id or ""
    sentence = f"The job is {document.status.value}, so there is no result to verify."
    if arguments.json:
        print_json(
            {
                "job_id": job_id,
                "verified": False,
                "error": "not_completed",
                "status": document.status,
            }
        )
    else:
        print(f"job {printable(job_id)}\n  {sentence}\nNOT VERIFIED")
    return ExitCode.FAILED
