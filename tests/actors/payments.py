"""The PaymentCore under test, with a clock that is stepped by hand."""

from __future__ import annotations

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_state import PaymentState
from tests.fakes.paying import PRICE, Shop

SECOND = 1_000
SOLANA = 45 * SECOND
SHARE = PRICE - PRICE // 20


def told(shop: Shop) -> list[tuple[JobStatus, PaymentState | None]]:
    """The ends that were told: how the job and its payment stood."""
    return [(view.status, view.payment.state if view.payment else None) for view in shop.told.views]


def problem(shop: Shop) -> str:
    """What health says of payments; nothing when all is well."""
    return shop.problem or ""


def completed(job_id: str = "job", *, lives: int = 3_600_000, policy: PaymentPolicy | None = None) -> Shop:
    """A shop in which a paid job is completed."""
    shop = Shop(policy)
    shop.commit(job_id, lives=lives)
    shop.complete(job_id)
    shop.settle_down()
    return shop
