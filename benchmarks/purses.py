"""Money of simulated seekers: each commit gets a payment of its own, in the header of x402 version 2.

All are really signed, because the coordinator checks that itself.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import httpx
import msgspec
from coincurve import PrivateKey
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from benchmarks.play_money import BLOCKHASH
from benchmarks.servers import Server
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_offer import PAYMENT_HEADER
from compute_router.transport.payments.evm_signatures import Transfer, address_of, digest, domain_of
from compute_router.transport.payments.solana_programs import COMPUTE_BUDGET, MEMO, TOKEN, token_account


class Purse(Protocol):
    """What one seeker pays with."""

    def payment(self) -> dict[str, Any]:
        """The payload of another payment."""


class PayingFields:
    """Header lines that pay for one commit after the other."""

    def __init__(self, requirement: dict[str, Any], purse: Purse) -> None:
        self._accepted = msgspec.Raw(msgspec.json.encode(requirement))
        self._purse = purse

    def __call__(self) -> bytes:
        """The line of another payment."""
        payment = {"x402Version": 2, "accepted": self._accepted, "payload": self._purse.payment()}
        return b"%b: %b\r\n" % (PAYMENT_HEADER.encode(), base64.b64encode(msgspec.json.encode(payment)))


class EvmPurse:
    """Authorizations of EIP-3009."""

    def __init__(self, requirement: dict[str, Any]) -> None:
        extra = requirement["extra"]
        self._requirement = requirement
        self._key = PrivateKey()
        self._address = address_of(self._key.public_key)
        self._domain = domain_of(
            extra["name"], extra["version"], requirement["network"], requirement["asset"]
        )

    def payment(self) -> dict[str, Any]:
        """See :class:`Purse`."""
        wanted, now = self._requirement, int(time.time())
        transfer = Transfer(
            sender=self._address,
            to=wanted["payTo"],
            value=wanted["amount"],
            validAfter=str(now - 600),
            validBefore=str(now + wanted["maxTimeoutSeconds"]),
            nonce="0x" + os.urandom(32).hex(),
        )
        signature = self._key.sign_recoverable(digest(transfer, self._domain), hasher=None)
        signed = signature[:64] + bytes([27 + signature[64]])
        return {"authorization": transfer, "signature": "0x" + signed.hex()}


class SolanaPurse:
    """Transactions with the four instructions that clients of x402 write."""

    def __init__(self, requirement: dict[str, Any]) -> None:
        self._keypair = Keypair()
        self._fee_payer = Pubkey.from_string(requirement["extra"]["feePayer"])
        mint, amount = requirement["asset"], int(requirement["amount"])
        mine, theirs = (
            Pubkey.from_string(token_account(owner, mint))
            for owner in (str(self._keypair.pubkey()), requirement["payTo"])
        )
        self._instructions = [
            Instruction(COMPUTE_BUDGET, bytes([2]) + (20_000).to_bytes(4, "little"), []),
            Instruction(COMPUTE_BUDGET, bytes([3]) + (1).to_bytes(8, "little"), []),
            Instruction(
                TOKEN,
                bytes([12]) + amount.to_bytes(8, "little") + bytes([6]),
                [
                    AccountMeta(mine, is_signer=False, is_writable=True),
                    AccountMeta(Pubkey.from_string(mint), is_signer=False, is_writable=False),
                    AccountMeta(theirs, is_signer=False, is_writable=True),
                    AccountMeta(self._keypair.pubkey(), is_signer=True, is_writable=False),
                ],
            ),
        ]

    def payment(self) -> dict[str, Any]:
        """See :class:`Purse`."""
        memo = Instruction(MEMO, os.urandom(16).hex().encode(), [])
        message = MessageV0.try_compile(self._fee_payer, [*self._instructions, memo], [], BLOCKHASH)
        signature = self._keypair.sign_message(to_bytes_versioned(message))
        transaction = VersionedTransaction.populate(message, [Signature.default(), signature])
        return {"transaction": base64.b64encode(bytes(transaction)).decode()}


PURSES: Final[dict[Chain, Callable[[dict[str, Any]], Purse]]] = {
    Chain.MONAD: EvmPurse,
    Chain.SOLANA: SolanaPurse,
}


async def requirement_of(server: Server) -> dict[str, Any]:
    """What a coordinator asks for the job that seekers commit, by its discovery document."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/.well-known/x402")
    return next(
        sold["accepts"][0]
        for sold in answer.json()["resources"]
        if (sold["tier"], sold["jobType"]) == (Tier.CHEAP.value, JobType.TASK.value)
    )


def paying_fields(chain: Chain, requirement: dict[str, Any], count: int) -> Sequence[PayingFields]:
    """Of so many seekers, each with a purse of its own."""
    return [PayingFields(requirement, PURSES[chain](requirement)) for _ in range(count)]
