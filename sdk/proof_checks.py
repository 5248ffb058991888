"""Everything about a proof that can be checked offline, one sentence and one verdict for each check.

The checks about the receipt build on each other: after one that failed, the others are not made. So do
those about the coordinator's statement. docs/receipts.md has the same checks in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from compute_router.protocol.countersigning import Statement, decode_statement
from compute_router.protocol.errors import (
    OutputHashMismatchError,
    ReceiptError,
    ReceiptJobMismatchError,
    ReceiptKeyMismatchError,
    ReceiptMissingError,
    RequestHashMismatchError,
    StatementMismatchError,
)
from compute_router.protocol.receipts import (
    Receipt,
    SignedReceipt,
    decode_receipt,
    sha256_hex,
    verify_signature,
)
from compute_router.sdk.checks import Check, Verdict
from compute_router.sdk.proof_documents import Countersign, ProofDocument

REFORMATTED: Final = (
    "This file was reformatted after it was saved, and a signature is over bytes: save it again as it comes "
    '("compute-router status JOB_ID --json"), or use the document of "compute-router receipt JOB_ID", '
    "which survives that."
)

_Step = tuple[str, str, Callable[[], None]]
"""Name of a check, the sentence that is true when it passes, and what raises a ReceiptError if it is not."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a document is to be checked against beside itself; None is not asked for.

    ``output`` and ``request`` are bytes of the job's output and payload, ``coordinator_key`` the public key
    of the coordinator in hex.
    """

    output: bytes | None = None
    request: bytes | None = None
    coordinator_key: str | None = None


class Judgement(msgspec.Struct, frozen=True):
    """The checks in order. ``error`` is the first failure, None when all that was asked for passed.

    ``receipt`` is set if it could be read, proven or not. ``hint`` says how a failure may have come about.
    """

    checks: tuple[Check, ...]
    receipt: Receipt | None
    error: ReceiptError | None
    hint: str | None = None


def judge(document: ProofDocument, asked: Asked) -> Judgement:
    """Check a document."""
    proof = _Proof(document, asked)
    checks: list[Check] = []
    errors: list[ReceiptError] = []
    for chain in (proof.about_receipt(), proof.about_statement()):
        verdict = Verdict.PASSED
        for name, sentence, attempt in chain:
            if verdict is Verdict.PASSED:
                try:
                    attempt()
                except ReceiptError as error:
                    errors.append(error)
                    checks.append(Check(name, Verdict.FAILED, str(error)))
                    verdict = Verdict.NOT_MADE
                    continue
            checks.append(Check(name, verdict, sentence))
    if not proof.has_output:
        unknown = "Whether an output is the one that the receipt is about: give it with --output FILE."
        checks.append(Check("output", Verdict.NOT_MADE, unknown))
    hint = REFORMATTED if errors and document.reformatted else None
    return Judgement(tuple(checks), proof.receipt, errors[0] if errors else None, hint)


class _Proof:
    def __init__(self, document: ProofDocument, asked: Asked) -> None:
        self._document = document
        self._asked = asked
        self.receipt: Receipt | None = None
        self._statement: Statement | None = None

    @property
    def has_output(self) -> bool:
        return self._asked.output is not None or self._document.output_json is not None

    @property
    def _signed(self) -> SignedReceipt:
        assert self._document.signed is not None, "checked first"
        return self._document.signed

    @property
    def _read(self) -> Receipt:
        assert self.receipt is not None, "checked before"
        return self.receipt

    def about_receipt(self) -> Iterator[_Step]:
        document, asked = self._document, self._asked
        yield "receipt", "The document carries a receipt.", self._is_there
        yield "form", "The receipt has the required fields, and its signed bytes can be told.", self._has_form
        if document.job_id is not None:
            yield "job", "The receipt names this job.", self._names_job
        if document.provider_pubkey is not None:
            yield "key", "The receipt names the worker key that the document names.", self._names_key
        if document.output_json is not None:
            sentence = "The SHA-256 of the result's bytes is the hash in the receipt."
            yield "hash", sentence, lambda: self._proves_output(document.output_json)
        if asked.output is not None:
            sentence = "The SHA-256 of the output that was given is the hash in the receipt."
            yield "output", sentence, lambda: self._proves_output(asked.output)
        yield (
            "signature",
            "The signature over the receipt's bytes was made by the key it names.",
            lambda: verify_signature(
                self._read.provider_pubkey, self._signed.receipt_json, self._signed.signature
            ),
        )
        if asked.request is not None:
            sentence = "The SHA-256 of the request that was given is the request hash in the receipt."
            yield "request", sentence, self._proves_request

    def about_statement(self) -> Iterator[_Step]:
        countersign, key = self._document.countersign, self._asked.coordinator_key
        if countersign is None:
            if key is not None:
                yield "statement", "The document carries a coordinator's statement.", _no_statement
            return
        yield (
            "statement",
            "The coordinator's statement is about this job, receipt and output.",
            lambda: self._is_stated(countersign),
        )
        if key is not None:
            sentence = "The statement is by the coordinator whose key was given."
            yield "coordinator", sentence, lambda: _is_by(countersign, key)
        yield (
            "countersign",
            "The statement was signed by the coordinator's key."
            if key is not None
            else f"The statement was signed by the key {countersign.pubkey}; to check whose it is, give the "
            "coordinator's with --coordinator-key.",
            lambda: verify_signature(
                key or countersign.pubkey,
                countersign.statement.encode("utf-8", "surrogatepass"),
                countersign.signature,
            ),
        )

    def _is_there(self) -> None:
        if self._document.signed is None and self._document.unreadable is None:
            raise ReceiptMissingError("The result came without a receipt.")

    def _has_form(self) -> None:
        if self._document.unreadable is not None:
            raise self._document.unreadable
        self.receipt = decode_receipt(self._signed.receipt_json)

    def _names_job(self) -> None:
        if self._read.job_id != self._document.job_id:
            raise ReceiptJobMismatchError("The receipt names another job.")

    def _names_key(self) -> None:
        if self._read.provider_pubkey != self._document.provider_pubkey:
            raise ReceiptKeyMismatchError("The receipt names another provider key.")

    def _proves_output(self, output: bytes | None) -> None:
        if self._read.output_hash != sha256_hex(output or b""):
            raise OutputHashMismatchError("The output does not have the hash that the receipt states.")

    def _proves_request(self) -> None:
        stated = self._read.request_hash
        if stated is None:
            raise RequestHashMismatchError("The receipt does not say which request it is about.")
        if stated != sha256_hex(self._asked.request or b""):
            raise RequestHashMismatchError("The request does not have the hash that the receipt states.")

    def _is_stated(self, countersign: Countersign) -> None:
        statement, document = decode_statement(countersign.statement), self._document
        signed = document.signed
        if document.job_id not in (None, statement.job_id):
            raise StatementMismatchError("The coordinator's statement is about another job.")
        if document.network not in (None, statement.network):
            raise StatementMismatchError("The coordinator's statement is about another network.")
        if document.verified not in (None, statement.verified):
            raise StatementMismatchError("The coordinator's statement gives another verdict.")
        receipt_hash = None if signed is None else sha256_hex(signed.receipt_json)
        signature = None if signed is None else signed.signature
        if (statement.receipt_hash, statement.signature) != (receipt_hash, signature):
            raise StatementMismatchError("The coordinator's statement is about another receipt.")
        for output in (document.output_json, self._asked.output):
            if output is not None and sha256_hex(output) != statement.output_hash:
                raise StatementMismatchError("The coordinator's statement is about another output.")
        proven = self.receipt.output_hash if self.receipt is not None and statement.verified else None
        if proven not in (None, statement.output_hash):
            raise StatementMismatchError("The coordinator's statement is about another output.")


def _no_statement() -> None:
    raise StatementMismatchError(
        'The document carries no coordinator\'s statement; "compute-router receipt JOB_ID" gets one.'
    )


def _is_by(countersign: Countersign, key: str) -> None:
    if countersign.pubkey != key:
        raise StatementMismatchError("The statement is by another coordinator.")
