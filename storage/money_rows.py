"""Rows about money as the records of the protocol."""

from __future__ import annotations

from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Payment, Payout
from compute_router.protocol.payout_state import PayoutState
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.faults import unreadable

PaymentRow = tuple[
    str, str, str, str, int, int, str, str | None, str | None, str, str, int, int, bytes, bytes, str,
    str | None, str | None
]  # fmt: skip
PayoutRow = tuple[str, str, str, int, int, str, str | None, str | None, str | None]


def payment(row: PaymentRow) -> Payment:
    """A row of ``PAYMENT``.

    Raises:
        StorageUnavailableError: the row holds what nobody can have written.
    """
    try:
        return Payment(
            payment_id=row[0],
            job_id=row[1],
            payer=row[2],
            network=row[3],
            amount=MicroUsd(row[4]),
            fee=MicroUsd(row[5]),
            state=PaymentState(row[6]),
            transaction_ref=row[7],
            reason=row[8],
            asset=row[9],
            pay_to=row[10],
            expires_at=UnixMs(row[11]),
            x402_version=row[12],
            payload=row[13],
            requirements=row[14],
            credit_token_hash=row[15],
            spends=row[16],
            commit_key_hash=row[17],
        )
    except ValueError as error:
        raise unreadable(f"Payment {row[0]}", error) from error


def payout(row: PayoutRow) -> Payout:
    """A row of ``PAYOUT``. Raises what :func:`payment` raises."""
    try:
        return Payout(
            payout_id=row[0],
            pubkey=row[1],
            address=row[2],
            amount=MicroUsd(row[3]),
            created_at=UnixMs(row[4]),
            state=PayoutState(row[5]),
            transaction_data=row[6],
            transaction_ref=row[7],
            reason=row[8],
        )
    except ValueError as error:
        raise unreadable(f"Payout {row[0]}", error) from error
