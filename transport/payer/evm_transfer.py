"""The transfer of a payout on an EVM chain: an authorization of the token, and what is recorded of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from eth_account.messages import encode_typed_data

from compute_router.protocol.chain_addresses import keccak_256
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import PAYMENT_NETWORKS, Payment
from compute_router.protocol.payout_api import OpenPayout
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.transport.payer.ports import PurseError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

NETWORK: Final = NETWORKS[Chain.MONAD]
FACTS: Final = PAYMENT_NETWORKS[Chain.MONAD]
CHAIN_ID: Final = int(NETWORK.caip2.partition(":")[2])

_TRANSFER: Final = keccak_256(
    b"transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
)[:4]
_TYPES: Final = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


class Transfer(msgspec.Struct, frozen=True):
    """What is recorded of a signed transfer.

    ``nonce`` is that of the transaction, ``authorization`` that of the token. ``signed_since``: seconds since
    1970 by the chain's clock; before them it was surely not carried out. ``failed`` are the transactions of
    before, which had the same authorization.
    """

    chain: str
    sender: str
    nonce: int
    authorization: str
    valid_before: int
    raw: str
    signed_since: int
    failed: tuple[str, ...] = ()


_TRANSFERS: Final = msgspec.json.Decoder(Transfer)


def recorded_transfer(transaction_data: str | None) -> Transfer:
    """What the book holds of a payout's transfer.

    Raises:
        PurseError: nobody here wrote that.
    """
    try:
        return _TRANSFERS.decode(transaction_data or "")
    except msgspec.MsgspecError:
        raise PurseError("The book holds a transfer that this chain's purse did not write.") from None


def authorization_nonce(payout_id: str) -> str:
    """The nonce of the one authorization that a payout can have."""
    return "0x" + keccak_256(f"compute-router/payout/v1\n{payout_id}".encode()).hex()


def call_data(account: LocalAccount, payout: OpenPayout, valid_before: int) -> str:
    """What the token is asked to do, signed. The same question gives the same answer, bit by bit."""
    authorization = authorization_nonce(payout.payout_id)
    domain = {
        "name": FACTS.asset_name,
        "version": FACTS.asset_version,
        "chainId": CHAIN_ID,
        "verifyingContract": FACTS.asset,
    }
    values: dict[str, Any] = {
        "from": account.address,
        "to": payout.address,
        "value": payout.amount,
        "validAfter": 0,
        "validBefore": valid_before,
        "nonce": bytes.fromhex(authorization[2:]),
    }
    signed = account.sign_message(encode_typed_data(domain, _TYPES, values))
    words = [
        int(account.address, 16),
        int(payout.address, 16),
        int(payout.amount),
        0,
        valid_before,
        int(authorization, 16),
        signed.v,
        signed.r,
        signed.s,
    ]
    return "0x" + (_TRANSFER + b"".join(word.to_bytes(32, "big") for word in words)).hex()


def as_payment(payout: OpenPayout, transfer: Transfer) -> Payment:
    """A payout as readers of the chain see it: a payment by this purse to the worker."""
    authorization = {
        "from": transfer.sender,
        "validBefore": str(transfer.valid_before),
        "nonce": transfer.authorization,
    }
    return Payment(
        payment_id=payout.payout_id,
        job_id="",
        payer=transfer.sender,
        network=NETWORK.caip2,
        amount=payout.amount,
        fee=MicroUsd(0),
        state=PaymentState.SETTLING,
        asset=FACTS.asset,
        pay_to=payout.address,
        expires_at=UnixMs(transfer.valid_before * 1000),
        x402_version=2,
        payload=msgspec.json.encode({"payload": {"authorization": authorization}}),
        requirements=b"{}",
        credit_token_hash="",
        transaction_ref=payout.transaction_ref,
    )
