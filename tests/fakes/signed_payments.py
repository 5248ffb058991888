"""Payments of a seeker on both chains, signed for real, without a chain: what an x402 client would send."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any, Final

from eth_account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_offer import PAYMENT_HEADER, PAYMENT_HEADER_V1, V1_NETWORK_NAMES
from compute_router.transport.payments.solana_programs import COMPUTE_BUDGET, MEMO, TOKEN, token_account

TRANSFER: Final = [
    {"name": "from", "type": "address"},
    {"name": "to", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "validAfter", "type": "uint256"},
    {"name": "validBefore", "type": "uint256"},
    {"name": "nonce", "type": "bytes32"},
]


class EvmSeeker:
    """Signs EIP-3009 authorizations."""

    chain: Final = Chain.MONAD

    def __init__(self) -> None:
        self.account = Account.create()
        self.address: str = self.account.address

    def sign(self, wanted: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The inner payload for a requirement; ``changes`` are signed too."""
        now = int(time.time())
        said = {
            "from": self.address,
            "to": wanted["payTo"],
            "value": wanted["amount"],
            "validAfter": str(now - 600),
            "validBefore": str(now + wanted["maxTimeoutSeconds"]),
            "nonce": "0x" + os.urandom(32).hex(),
        } | changes
        signed = self.account.sign_message(evm_message(wanted, said))
        return {"authorization": said, "signature": "0x" + bytes(signed.signature).hex()}


class SolanaSeeker:
    """Signs transfers whose fee another pays."""

    chain: Final = Chain.SOLANA

    def __init__(self) -> None:
        self.keypair = Keypair()
        self.address = str(self.keypair.pubkey())

    def sign(self, wanted: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The inner payload for a requirement.

        ``changes`` are signed too: ``amount``, ``payTo``, ``asset``, ``feePayer``, or ``more`` instructions;
        ``source``, another account that is paid from; ``limit`` and ``price`` of computing.
        """
        usual = {"feePayer": wanted["extra"]["feePayer"], "more": [], "limit": 20_000, "price": 1}
        said = wanted | usual | changes
        mint = Pubkey.from_string(said["asset"])
        fee_payer = Pubkey.from_string(said["feePayer"])
        amount = int(said["amount"])

        def held_by(owner: str) -> Pubkey:
            return Pubkey.from_string(token_account(owner, said["asset"]))

        transfer = Instruction(
            TOKEN,
            bytes([12]) + amount.to_bytes(8, "little") + bytes([6]),
            [
                AccountMeta(said.get("source") or held_by(self.address), is_signer=False, is_writable=True),
                AccountMeta(mint, is_signer=False, is_writable=False),
                AccountMeta(held_by(said["payTo"]), is_signer=False, is_writable=True),
                AccountMeta(self.keypair.pubkey(), is_signer=True, is_writable=False),
            ],
        )
        instructions = [
            Instruction(COMPUTE_BUDGET, bytes([2]) + said["limit"].to_bytes(4, "little"), []),
            Instruction(COMPUTE_BUDGET, bytes([3]) + said["price"].to_bytes(8, "little"), []),
            transfer,
            *said["more"],
            Instruction(MEMO, os.urandom(16).hex().encode(), []),
        ]
        message = MessageV0.try_compile(fee_payer, instructions, [], Hash.new_unique())
        signature = self.keypair.sign_message(to_bytes_versioned(message))
        others = [Signature.default()] * (message.header.num_required_signatures - 1)
        transaction = VersionedTransaction.populate(message, [*others[:1], signature, *others[1:]])
        return {"transaction": base64.b64encode(bytes(transaction)).decode()}


Seeker = EvmSeeker | SolanaSeeker


def evm_message(wanted: dict[str, Any], said: dict[str, Any]) -> Any:
    """What is signed: EIP-712 data of one authorization."""
    from eth_account.messages import encode_typed_data

    return encode_typed_data(
        domain_data={
            "name": wanted["extra"]["name"],
            "version": wanted["extra"]["version"],
            "chainId": int(wanted["network"].partition(":")[2]),
            "verifyingContract": wanted["asset"],
        },
        message_types={"TransferWithAuthorization": TRANSFER},
        message_data=said | {name: int(said[name]) for name in ("value", "validAfter", "validBefore")},
    )


def as_header(value: Any) -> str:
    """JSON in base64."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def v2_headers(wanted: dict[str, Any], inner: Any, **changes: Any) -> dict[str, str]:
    """The header of a payment of version 2."""
    return {PAYMENT_HEADER: as_header({"x402Version": 2, "accepted": wanted, "payload": inner} | changes)}


def v1_headers(wanted: dict[str, Any], inner: Any, **changes: Any) -> dict[str, str]:
    """The header of a payment of version 1."""
    network = V1_NETWORK_NAMES[wanted["network"]]
    payment = {"x402Version": 1, "scheme": "exact", "network": network, "payload": inner}
    return {PAYMENT_HEADER_V1: as_header(payment | changes)}
