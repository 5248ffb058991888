"""What a worker key earned."""

from __future__ import annotations

from compute_router.protocol.payout_api import EarningsAnswer
from compute_router.sdk.answers import read_answer
from compute_router.sdk.requests import earnings_call
from compute_router.sdk.steps import Flow, call
from compute_router.sdk.trust_file import checked_pubkey


def earnings(pubkey: str, read_timeout_s: float) -> Flow[EarningsAnswer]:
    """Ask what a worker earned; zeros for a key that earned nothing.

    Raises:
        InvalidArgumentError: this is no worker's key.
    """
    reply = yield from call(earnings_call(checked_pubkey(pubkey), read_timeout_s))
    return read_answer(reply, EarningsAnswer)
