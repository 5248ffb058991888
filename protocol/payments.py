"""What the coordinator, its facilitators and its ledger say to each other about money."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs

MICRO_USD_PER_UNIT: Final = 1
"""USDC has six decimals, so one smallest unit is one millionth of a dollar."""

CREDIT_HEADER: Final = "Payment-Credit"
"""Request header with a credit token; a failed job's answer names the token in ``payment.credit_token``."""


class PaymentNetwork(msgspec.Struct, frozen=True):
    """Facts of one chain's money. ``authorization_lives`` is what we ask authorizations to live."""

    asset: str
    asset_name: str
    asset_version: str
    default_facilitator: str
    default_rpc_url: str
    authorization_lives: DurationMs


PAYMENT_NETWORKS: Final = {
    Chain.MONAD: PaymentNetwork(
        asset="0x534b2f3A21130d7a60830c2Df862319e593943A3",
        asset_name="USDC",
        asset_version="2",
        default_facilitator="https://x402-facilitator.molandak.org",
        default_rpc_url="https://testnet-rpc.monad.xyz",
        authorization_lives=DurationMs(3_600_000),
    ),
    Chain.SOLANA: PaymentNetwork(
        asset="4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU",
        asset_name="USDC",
        asset_version="2",
        default_facilitator="https://www.x402.org/facilitator",
        default_rpc_url="https://api.devnet.solana.com",
        authorization_lives=DurationMs(45_000),
    ),
}


class NewPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A verified authorization that is about to be reserved, together with its job.

    ``payment_id`` names it on its chain: ``<caip2>/<asset>/<payer>/<nonce>`` on EVM, ``<caip2>/<message hash>`` on
    Solana. ``payload`` and ``requirements`` are the x402 v2 JSON that settlement needs. A commit that is
    paid by credit has the network ``credit`` and begins as ``SETTLED``.
    """

    payment_id: str
    payer: str
    network: str
    asset: str
    pay_to: str
    amount: MicroUsd
    expires_at: UnixMs
    x402_version: int
    payload: bytes
    requirements: bytes


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as it is kept."""

    payment_id: str
    job_id: str
    payer: str
    network: str
    asset: str
    pay_to: str
    amount: MicroUsd
    state: PaymentState
    expires_at: UnixMs
    x402_version: int
    payload: bytes
    requirements: bytes
    transaction_ref: str | None = None
    reason: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One line of a journal: an account and what it gains (positive) or gives (negative)."""

    account: str
    amount: MicroUsd
