"""How the command line shows things."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from compute_router.protocol.payments import CREDIT_NETWORK
from compute_router.protocol.units import format_usd
from compute_router.sdk.job_payment import JobPayment
from compute_router.sdk.results import (
    ClassificationResult,
    ExtractionResult,
    LlmResult,
    Provenance,
    SummaryResult,
    TaskResult,
)
from compute_router.sdk.sealing import JobHandle

_KEPT_CONTROLS = "\n\t"


def printable(text: str) -> str:
    """The text without control characters: what strangers wrote must not steer the terminal."""
    return "".join(
        char
        if char in _KEPT_CONTROLS or not (ord(char) < 32 or 127 <= ord(char) < 160)
        else "\N{REPLACEMENT CHARACTER}"
        for char in text.encode("utf-8", "replace").decode("utf-8")
    )


def short_key(pubkey: str) -> str:
    """Enough of a public key to recognise it."""
    return f"{pubkey[:8]}…{pubkey[-4:]}"


def say(line: str) -> None:
    """One line of information, apart from the result itself."""
    print(printable(line), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """A value for programs, on one line."""
    write_bytes(msgspec.json.encode(value, enc_hook=_as_text) + b"\n")


def _as_text(value: Any) -> str:
    if isinstance(value, JobHandle):
        return str(value)
    raise NotImplementedError(f"this has no JSON form: {type(value).__name__}")


def write_bytes(data: bytes) -> None:
    """Bytes to standard output, unchanged."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def pretty_json(value: Any) -> str:
    """A value for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode("utf-8", "replace")


def result_text(result: LlmResult | TaskResult) -> str:
    """The result itself, for people."""
    match result:
        case LlmResult():
            text = result.text
        case SummaryResult():
            text = result.summary
        case ClassificationResult():
            text = f"{result.sentiment} (confidence {result.confidence:.2f})"
        case ExtractionResult():
            text = pretty_json(result.extracted)
    return printable(text)


def proof_sentence(result: Provenance) -> str:
    """What is known about who made a result."""
    if result.verified:
        assert result.worker_pubkey is not None, "a verified receipt names its signer"
        return f"verified: signed by worker {short_key(result.worker_pubkey)}"
    return f"NOT VERIFIED: {result.verification_error}"


def facts_line(result: Provenance, elapsed_s: float) -> str:
    """Job, price and time of a result."""
    return f"job {result.job_id}{_cost(result)}, {elapsed_s:.2f} s"


def _cost(result: Provenance) -> str:
    if result.price is None:
        return ""
    # Quotes name a price where jobs are free, too.
    return ", free" if result.payment is None else f", {format_usd(result.price)}{_paid(result.payment)}"


def _paid(payment: JobPayment) -> str:
    if payment.network == CREDIT_NETWORK:
        return " paid from a credit"
    return f" paid by {payment.transaction_ref}" if payment.transaction_ref else f" {payment.state.value}"


def payment_line(payment: JobPayment) -> str:
    """Where the payment of a job stands, and by which transaction."""
    where = "from a credit" if payment.network == CREDIT_NETWORK else f"on {payment.network}"
    by = f" by {payment.transaction_ref}" if payment.transaction_ref else ""
    return f"{format_usd(payment.amount)} {payment.state.value} {where}{by}"


def result_document(result: LlmResult | TaskResult) -> dict[str, Any]:
    """The result with its provenance, for programs."""
    fields = msgspec.structs.asdict(result)
    price = fields.pop("price")
    return fields | {
        "price": format_usd(price) if price is not None else None,
        "worker_pubkey": result.worker_pubkey,
    }
