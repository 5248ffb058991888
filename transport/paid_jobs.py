"""How a paid job is shown: its result only when it is paid for, and its payment beside it."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from compute_router.protocol.http_api import PaymentAnswer
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_offer import RESPONSE_HEADER, RESPONSE_HEADER_V1, V1_NETWORK_NAMES
from compute_router.protocol.payment_state import OPEN_PAYMENTS, PaymentState
from compute_router.protocol.payments import PaymentView
from compute_router.storage.interface import JobView

_PAYMENT_FAILED: Final = msgspec.json.encode(
    {
        "error": "payment_failed",
        "message": "The job was done, but its payment could not be settled, so its result is withheld.",
    }
)


def awaits_payment(view: JobView) -> bool:
    """Whether a job is done and its payment is not decided yet."""
    payment = view.payment
    return payment is not None and view.status is JobStatus.COMPLETED and payment.state in OPEN_PAYMENTS


def shown_view(view: JobView) -> JobView:
    """A job as its owner may see it: what is not paid for is withheld."""
    if awaits_payment(view):
        return msgspec.structs.replace(
            view, status=JobStatus.RUNNING, result=None, receipt=None, completed_at=None
        )
    if view.payment is not None and _went_unpaid(view.status, view.payment):
        return msgspec.structs.replace(view, status=JobStatus.FAILED, result=_PAYMENT_FAILED, receipt=None)
    return view


def payment_answer(payment: PaymentView, token: str | None) -> PaymentAnswer:
    """A payment as whoever asks sees it, with the token of its credit if that is his."""
    return PaymentAnswer(
        state=payment.state,
        amount=payment.amount,
        network=payment.network,
        payer=payment.payer,
        transaction_ref=payment.transaction_ref,
        credit_token=token,
    )


def payment_ref(view: JobView) -> str | msgspec.UnsetType:
    """The settlement of a job's payment on its chain; unset for a free job, and before it is settled."""
    if view.payment is None or view.payment.transaction_ref is None:
        return msgspec.UNSET
    return view.payment.transaction_ref


def settlement_headers(view: JobView) -> tuple[tuple[str, str], ...]:
    """The headers of both versions of x402 that tell how a payment went; none if it is not over."""
    payment = view.payment
    if payment is None or view.status is not JobStatus.COMPLETED or payment.network not in V1_NETWORK_NAMES:
        return ()
    if payment.state is PaymentState.SETTLED:
        said = {"success": True, "payer": payment.payer, "transaction": payment.transaction_ref or ""}
    elif payment.state is PaymentState.VOID:
        reason = payment.reason or "refused"
        said = {"success": False, "errorReason": reason, "payer": payment.payer, "transaction": ""}
    else:
        return ()
    newer = said | {"network": payment.network, "amount": str(payment.amount)}
    older = said | {"network": V1_NETWORK_NAMES[payment.network]}
    return ((RESPONSE_HEADER, _base64(newer)), (RESPONSE_HEADER_V1, _base64(older)))


def _went_unpaid(status: JobStatus, payment: PaymentView) -> bool:
    return status is JobStatus.COMPLETED and payment.state is PaymentState.VOID


def _base64(value: dict[str, object]) -> str:
    return base64.b64encode(msgspec.json.encode(value)).decode("ascii")
