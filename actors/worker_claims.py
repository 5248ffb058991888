"""What a completion claims, judged by its form alone; the store's thread checks what proves it."""

from __future__ import annotations

import msgspec

from compute_router.protocol.errors import ReceiptMalformedError
from compute_router.protocol.messages import JobComplete
from compute_router.protocol.receipts import Receipt, decode_receipt


class Misnamed(msgspec.Struct, frozen=True):
    """The receipt is unreadable, or is about another job or key: refused, and nothing changes."""

    message: str


class WorkerReportedError(msgspec.Struct, frozen=True):
    """The output is the worker's own error, dressed as a result."""

    message: str


class Plausible(msgspec.Struct, frozen=True):
    """The claim may be true. ``receipt`` is set when it had to be read to say so."""

    receipt: Receipt | None = None


def read_completion(
    frame: JobComplete, pubkey: str, *, proven: bool
) -> Misnamed | WorkerReportedError | Plausible:
    """Judge a completion that arrived on the socket of the worker ``pubkey``.

    Workers that are not ours report their own errors as an output whose only key is ``error``; ours use
    ``job_failed``, so an output of that shape is a real one from them. A receipt that names another job or
    key is a slip of those that are not ours and changes nothing; from ours it is a wrong proof like others.
    """
    if proven:
        return Plausible()
    receipt = None
    if frame.receipt is not None:
        try:
            receipt = decode_receipt(bytes(frame.receipt))
        except ReceiptMalformedError as error:
            return Misnamed(str(error))
        if receipt.job_id != frame.job_id:
            return Misnamed("The receipt names another job.")
        if receipt.provider_pubkey != pubkey:
            return Misnamed("The receipt names another provider key.")
        if frame.receipt_signature is None:
            return Misnamed("The receipt has no signature.")
    if (reported := _sole_error(frame.output)) is not None:
        return WorkerReportedError(reported)
    return Plausible(receipt)


def _sole_error(output: msgspec.Raw) -> str | None:
    head = bytes(memoryview(output)[:64]).lstrip()
    if not head.startswith(b"{") or not head[1:].lstrip().startswith(b'"error"'):
        return None
    try:
        keys = msgspec.json.decode(output, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A raw value was not looked into when its frame was read, and was read from another stack depth.
        return None
    if list(keys) != ["error"]:
        return None
    try:
        return msgspec.json.decode(keys["error"], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bytes(keys["error"]).decode("utf-8", "replace")
