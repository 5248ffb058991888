"""One check of a proof, and how it went."""

from __future__ import annotations

from enum import Enum

import msgspec


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
