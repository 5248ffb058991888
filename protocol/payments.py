"""What the coordinator, its facilitators and its ledger say to each other about money."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payout_state import PayoutState
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs

CREDIT_HEADER: Final = "Payment-Credit"
"""Request header with a credit token; the answer to the commit of a paid job names its token."""


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


CREDIT_NETWORK: Final = "credit"
"""The network of a payment that was taken from a credit."""


class NewPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A verified authorization that is about to be reserved, together with its job.

    ``payment_id`` names it on its chain: ``<caip2>/<asset>/<payer>/<nonce>`` on EVM,
    ``<caip2>/<message hash>`` on Solana. ``payload`` and ``requirements`` are the x402 v2 JSON that
    settlement needs. ``fee`` is the operator's share of ``amount`` (``ledger.fee_of``).
    ``credit_token_hash`` is that of the credit which the payment becomes if its job fails after
    settlement (``credit_token`` of its ``payment_id``). ``commit_key_hash`` is the SHA-256 hex of the
    commit's ``Idempotency-Key``, if it had one: who shows that key again is shown the token.

    A commit that is paid by credit has the network ``credit``, the id ``credit/<job id>``, ``spends`` is the
    hash of the token that was shown, and it begins as ``SETTLED``.
    """

    payment_id: str
    payer: str
    network: str
    asset: str
    pay_to: str
    amount: MicroUsd
    fee: MicroUsd
    expires_at: UnixMs
    x402_version: int
    payload: bytes
    requirements: bytes
    credit_token_hash: str
    spends: str | None = None
    commit_key_hash: str | None = None

    def __repr__(self) -> str:
        """What it is about, without the authorization."""
        return f"NewPayment({self.payment_id!r}, amount={self.amount})"


class PaymentView(msgspec.Struct, frozen=True, kw_only=True):
    """What a job says of its payment."""

    payment_id: str
    job_id: str
    payer: str
    network: str
    amount: MicroUsd
    fee: MicroUsd
    state: PaymentState
    transaction_ref: str | None = None
    reason: str | None = None
    commit_key_hash: str | None = None


class Payment(PaymentView, frozen=True, kw_only=True):
    """A payment as it is kept."""

    asset: str
    pay_to: str
    expires_at: UnixMs
    x402_version: int
    payload: bytes
    requirements: bytes
    credit_token_hash: str
    spends: str | None = None

    def __repr__(self) -> str:
        """What it is about, without the authorization."""
        return f"Payment({self.payment_id!r}, {self.state.value}, amount={self.amount})"

    def view(self) -> PaymentView:
        """What the job says of it: everything but the authorization and what is spent with it."""
        return PaymentView(**{name: getattr(self, name) for name in PaymentView.__struct_fields__})


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """Money that came for a job that failed, and what is left of it."""

    token_hash: str
    payer: str
    payment_id: str
    amount_left: MicroUsd


class MoneyTotals(msgspec.Struct, frozen=True):
    """Sums over all payments and accounts.

    ``payments`` has for each state the number and the sum, ``accounts`` the sum of each kind of account, by
    the names of ``ledger.account_kind``; what never was is not in them. ``oldest_settlement`` is the time of
    the last step of the payment that has been settling or unknown longest, None if there is none.
    """

    payments: dict[PaymentState, tuple[int, MicroUsd]]
    accounts: dict[str, MicroUsd]
    oldest_settlement: UnixMs | None


EXPIRED: Final = frozenset({"authorization_expired", "blockhash_expired"})
"""Why a chain says that an authorization was not carried out when there was just no time left for it."""

PAYER_PREVENTS: Final = "payer_prevents_settlement"
"""Our own facilitator's word for a payment that its payer made impossible after it was found good."""

PAYERS_DOING: Final = frozenset(
    {
        "authorization_cancelled",
        "authorization_used_for_another_payment",
        "insufficient_funds",
        "invalid_exact_evm_insufficient_balance",
        "invalid_exact_evm_payload_signature",
        "transaction_failed",
        PAYER_PREVENTS,
    }
)
"""Reasons of a loss that are its payer's doing. With any other, or none, it is nobody's debt."""


class Loss(msgspec.Struct, frozen=True):
    """A payment that never came though its job was completed, since when, and why.

    Its payer owes it if that was his doing, and not if nobody came to take the money in time.
    """

    payment_id: str
    payer: str
    amount: MicroUsd
    at: UnixMs
    reason: str | None = None

    @property
    def owed(self) -> bool:
        """Whether it is the payer's debt."""
        return self.reason in PAYERS_DOING


class PayoutAddress(msgspec.Struct, frozen=True):
    """Where a worker wants its earnings, signed by its key at a time."""

    pubkey: str
    address: str
    signed_at: UnixMs


class Payout(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer to a worker; ``transaction_data`` is the signed transaction in its chain's own form."""

    payout_id: str
    pubkey: str
    address: str
    amount: MicroUsd
    created_at: UnixMs
    state: PayoutState = PayoutState.RECORDED
    transaction_data: str | None = None
    transaction_ref: str | None = None
    reason: str | None = None


class Payable(msgspec.Struct, frozen=True):
    """A worker that is owed so much, and has no open payout."""

    pubkey: str
    address: str
    amount: MicroUsd


class Earnings(msgspec.Struct, frozen=True):
    """What a worker earned in all; of that, what reached it, and what is on its way at the moment."""

    earned: MicroUsd
    paid_out: MicroUsd
    under_way: MicroUsd

    @property
    def pending(self) -> MicroUsd:
        """What was not paid out yet, with what is on its way."""
        return MicroUsd(self.earned - self.paid_out)


class Verified(msgspec.Struct, frozen=True):
    """An authorization that could be settled now."""

    payer: str


class Refused(msgspec.Struct, frozen=True):
    """The facilitator says no. Of a settlement: no money moved."""

    reason: str


class Settled(msgspec.Struct, frozen=True):
    """The money moved, by this transaction."""

    transaction_ref: str


class Unknown(msgspec.Struct, frozen=True):
    """Nobody knows what happened: a time-out, a broken answer, a lost connection.

    ``code`` is what was answered, if there was a clear answer that leaves it open all the same.
    """

    reason: str
    code: str | None = None


class NotSettled(msgspec.Struct, frozen=True):
    """The money did not move, and this authorization can move it no more."""

    reason: str


class StillOpen(msgspec.Struct, frozen=True):
    """The money has not moved, and this authorization may still move it."""


class Entry(msgspec.Struct, frozen=True):
    """One line of a journal: an account and what it gains (positive) or gives (negative)."""

    account: str
    amount: MicroUsd
