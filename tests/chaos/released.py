"""What an answer about a paid job may say: a result when money has moved for it, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from compute_router.protocol.payments import CREDIT_NETWORK
from tests.chaos.journal import Journal
from tests.chaos.money_promises import MoneyPromise

Vouches = Callable[[str, int, str | None], bool]
"""Whether the chain shows that a payer gave so much by this transaction."""


def check_release(journal: Journal, job_id: str, view: dict[str, Any], vouches: Vouches) -> None:
    """A seeker was answered about a paid job."""
    payment = view["payment"]
    state = payment["state"]
    if view["status"] == "completed":
        moved = payment["network"] == CREDIT_NETWORK or vouches(
            payment["payer"], payment["amount"], payment.get("transaction_ref")
        )
        journal.money(
            MoneyPromise.RELEASED,
            state == "settled" and moved,
            f"{job_id} was given away, its payment is {state}, and money moved: {moved}.",
        )
    if is_withheld(view):
        journal.money(
            MoneyPromise.DELIVERED, state == "void", f"{job_id} was withheld, its payment is {state}."
        )


def is_withheld(view: dict[str, Any]) -> bool:
    """Whether a result is there and not given, because its payment was refused."""
    return "payment" in view and view["status"] == "failed" and view["result"]["error"] == "payment_failed"


def without_payment(view: dict[str, Any]) -> bytes:
    """What of an answer never changes when its job has ended."""
    return msgspec.json.encode({k: v for k, v in view.items() if k not in ("payment", "payment_ref")})
