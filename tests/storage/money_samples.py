"""Payments, credits and payouts for tests; each test names only what it is about."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.payments import CREDIT_NETWORK, Credit, NewPayment, Payout
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.interface import Store
from tests.storage.samples import DESKTOP, NOON, a_job

PAYER: Final = "0x" + "aa" * 20
PRICE: Final = MicroUsd(10_000)
FEE: Final = MicroUsd(500)
TOKEN_HASH: Final = "c" * 64
EXPIRES: Final = UnixMs(NOON + 60_000)

_PAYMENT: Final = NewPayment(
    payment_id="pay-1",
    payer=PAYER,
    network="eip155:10143",
    asset="0xUSDC",
    pay_to="0xOperator",
    amount=PRICE,
    fee=FEE,
    expires_at=EXPIRES,
    x402_version=2,
    payload='{"signature": "0xé"}'.encode(),
    requirements=b'{"scheme":"exact"}',
    credit_token_hash=TOKEN_HASH,
)


def a_payment(payment_id: str = "pay-1", **changes: object) -> NewPayment:
    """A payment of PRICE by PAYER on Monad, but for the changes."""
    return msgspec.structs.replace(_PAYMENT, payment_id=payment_id, **changes)


def by_credit(job_id: str, **changes: object) -> NewPayment:
    """A payment taken from the credit with TOKEN_HASH."""
    spent = a_payment(
        f"credit/{job_id}", network=CREDIT_NETWORK, spends=TOKEN_HASH, credit_token_hash="d" * 64
    )
    return msgspec.structs.replace(spent, **changes)


def a_credit(token_hash: str = TOKEN_HASH, **changes: object) -> Credit:
    """PRICE that came for the job of pay-1."""
    credit = Credit(token_hash=token_hash, payer=PAYER, payment_id="pay-1", amount_left=PRICE)
    return msgspec.structs.replace(credit, **changes)


def a_payout(payout_id: str = "out-1", **changes: object) -> Payout:
    """A payout of PRICE to DESKTOP."""
    payout = Payout(payout_id=payout_id, pubkey=DESKTOP, address="0xWorker", amount=PRICE, created_at=NOON)
    return msgspec.structs.replace(payout, **changes)


def commit_paid(store: Store, job_id: str = "job-1", payment: NewPayment | None = None) -> None:
    """Commit a job with its payment in one transaction."""
    with store.transaction():
        store.insert_job(a_job(job_id), paid=True)
        assert store.reserve_payment(payment or a_payment(), job_id, NOON)
