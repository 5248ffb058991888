"""What a coordinator takes for a job, ready to be sent with every 402."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.networks import NETWORKS, Chain

REQUIRED_HEADER: Final = "PAYMENT-REQUIRED"
"""Of a 402: what is asked for, in base64 JSON (x402 v2)."""

PAYMENT_HEADER: Final = "PAYMENT-SIGNATURE"
"""Of a request: a payment in base64 JSON (x402 v2)."""

RESPONSE_HEADER: Final = "PAYMENT-RESPONSE"
"""Of the answer that hands out a result: the settlement, in base64 JSON (x402 v2)."""

V1_NETWORK_NAMES: Final = {
    NETWORKS[Chain.MONAD].caip2: "monad-testnet",
    NETWORKS[Chain.SOLANA].caip2: "solana-devnet",
}
"""Version 1 of x402 knows networks by names of its own."""

PAYMENT_HEADER_V1: Final = "X-PAYMENT"
RESPONSE_HEADER_V1: Final = "X-PAYMENT-RESPONSE"

QUOTE_HEADER: Final = "Payment-Quote"
"""Of a quote's answer and of a commit: the signed quote, as it was given."""


class PaymentOffer(msgspec.Struct, frozen=True):
    """One price in both versions of x402, as JSON.

    ``resource`` is the v2 object of that name, ``accepts`` the list of v2 requirements, ``accepts_v1`` the
    list of those of v1.
    """

    resource: bytes
    accepts: bytes
    accepts_v1: bytes
