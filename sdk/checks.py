"""The single checks behind a verification, in words."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from compute_router.protocol.errors import (
    BadSignatureError,
    OutputHashMismatchError,
    ReceiptError,
    ReceiptJobMismatchError,
    ReceiptMalformedError,
    ReceiptMissingError,
)
from compute_router.sdk.verification import Verification


class Verdict(Enum):
    """How a check went. Checks after a failed one are not made."""

    PASSED = "ok"
    FAILED = "FAILED"
    NOT_MADE = "not checked"


class Check(msgspec.Struct, frozen=True):
    """One check and a sentence that says what it means."""

    name: str
    verdict: Verdict
    sentence: str


# In the order in which they are made; each with the error that its failure raises.
_CHECKS: Final[tuple[tuple[str, type[ReceiptError], str], ...]] = (
    ("receipt", ReceiptMissingError, "The answer carries a receipt."),
    ("form", ReceiptMalformedError, "The receipt has the required fields, and its signed bytes can be told."),
    ("job", ReceiptJobMismatchError, "The receipt names this job."),
    ("hash", OutputHashMismatchError, "The SHA-256 of the result's bytes is the hash in the receipt."),
    ("signature", BadSignatureError, "The signature over the receipt's bytes was made by the key it names."),
)


def checks_of(verification: Verification) -> list[Check]:
    """Every check with its verdict. A failed one says what was wrong."""
    checks: list[Check] = []
    verdict = Verdict.PASSED
    for name, failure, sentence in _CHECKS:
        if verdict is Verdict.PASSED and isinstance(verification.error, failure):
            checks.append(Check(name, Verdict.FAILED, str(verification.error)))
            verdict = Verdict.NOT_MADE
        else:
            checks.append(Check(name, verdict, sentence))
    assert verification.verified or verdict is Verdict.NOT_MADE, "every failure belongs to a check"
    return checks
