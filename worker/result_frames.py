"""From the outcome of a job to the frame that tells the coordinator."""

from __future__ import annotations

from typing import Final

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.messages import JobComplete, JobFailed, JobReject, encode_frame
from compute_router.protocol.receipts import WorkDone, sha256_hex, sign_receipt
from compute_router.worker.jobs import AttemptKey, Failed, Output

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024

_LONGEST_MESSAGE: Final = 4096
_LONGEST_CODE: Final = 64


class ResultFrame(msgspec.Struct, frozen=True):
    """A frame to send. ``acknowledged`` says whether a coordinator answers it with ``job_ack``.

    It acknowledges results, and only if it counts attempts. A failure that gets lost with the socket does
    no harm: the job goes back because this worker no longer holds it.
    """

    data: bytes
    acknowledged: bool


def result_frame(
    key: SigningKey, attempt_key: AttemptKey, outcome: Output | Failed, work: WorkDone | None
) -> ResultFrame:
    """``job_complete`` with a signed receipt, or ``job_failed``; never larger than MAX_FRAME_BYTES.

    ``work`` is what the receipt says beside its five keys; None for a coordinator that counts no attempts.
    An output too large for one frame becomes a failure, because the coordinator would close the socket.
    """
    if isinstance(outcome, Failed):
        return ResultFrame(_failed_frame(attempt_key, outcome), acknowledged=False)
    frame = _complete_frame(key, attempt_key, outcome, work)
    if len(frame) > MAX_FRAME_BYTES:
        message = f"The output has {len(outcome.json)} bytes; a frame holds at most {MAX_FRAME_BYTES}."
        failed = Failed("output_too_large", message, retryable=False)
        return ResultFrame(_failed_frame(attempt_key, failed), acknowledged=False)
    return ResultFrame(frame, acknowledged=attempt_key.attempt is not None)


def _complete_frame(key: SigningKey, attempt_key: AttemptKey, output: Output, work: WorkDone | None) -> bytes:
    signed = sign_receipt(key, attempt_key.job_id, output.json, output.completed_at, work)
    return encode_frame(
        JobComplete(
            job_id=attempt_key.job_id,
            output=msgspec.Raw(output.json),
            output_hash=sha256_hex(output.json),
            receipt=msgspec.Raw(signed.receipt_json),
            receipt_signature=signed.signature,
            attempt=attempt_key.attempt,
        )
    )


def _failed_frame(attempt_key: AttemptKey, failed: Failed) -> bytes:
    if attempt_key.attempt is None:
        # A coordinator that does not count attempts does not know job_failed either.
        reason = f"{failed.code}: {failed.message}"[:_LONGEST_MESSAGE]
        return encode_frame(JobReject(job_id=attempt_key.job_id, reason=reason))
    return encode_frame(
        JobFailed(
            job_id=attempt_key.job_id,
            attempt=attempt_key.attempt,
            code=failed.code[:_LONGEST_CODE],
            message=failed.message[:_LONGEST_MESSAGE],
            retryable=failed.retryable,
        )
    )
