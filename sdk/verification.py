"""The client's own check of a finished job. What the coordinator says about a receipt is not believed."""

from __future__ import annotations

import msgspec

from compute_router.protocol.errors import ReceiptError, ReceiptMissingError
from compute_router.protocol.http_api import JobAnswer
from compute_router.protocol.receipts import Receipt, decode_receipt, detach_proof, verify_receipt

_NULL = b"null"


class Verification(msgspec.Struct, frozen=True):
    """Outcome of the check.

    ``receipt`` is what the answer carried, if it could be read, proven or not; ``error`` is why it proves
    nothing, and None exactly when it was verified.
    """

    receipt: Receipt | None
    error: ReceiptError | None

    @property
    def verified(self) -> bool:
        """Whether the receipt proves this output for this job."""
        return self.error is None


def verify_answer(answer: JobAnswer, request_hash: str | None = None) -> Verification:
    """Check hash and signature over the very bytes of the answer's ``result`` and ``receipt``.

    A receipt that names a request must name the one with this hash, unless it is None.
    """
    receipt_json = bytes(answer.receipt)
    if receipt_json == _NULL:
        return Verification(None, ReceiptMissingError("The result came without a receipt."))
    receipt: Receipt | None = None
    try:
        signed, _their_verdict = detach_proof(receipt_json)
        receipt = decode_receipt(signed.receipt_json)
        verify_receipt(signed, job_id=answer.id, output_json=bytes(answer.result), request_hash=request_hash)
    except ReceiptError as error:
        return Verification(receipt, error)
    return Verification(receipt, None)
