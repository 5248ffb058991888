"""What is promised about money, as sentences. Both layers of the fault injection check all of them."""

from __future__ import annotations

from enum import Enum


class MoneyPromise(Enum):
    """Each value is the sentence that reports show."""

    NOT_TWICE = "Nobody is charged twice for one commit."
    DELIVERED = "Nobody is charged for a job that was not delivered."
    RELEASED = "No result is given before its payment is settled."
    CREDITS = "No credit is lost."
    WORKERS = "Every completed job is credited to its worker."
    ZERO = "The ledger sums to zero, and each of its journals does."
    CHAIN = "The chain's balances are those of the ledger."
    DECIDED = "Nothing stays undecided once the faults have ended."
    PAYOUTS = "Every payout is carried out once, and of what was earned."
