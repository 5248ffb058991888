"""Payments of a seeker, signed for real, and a facilitator and a reader of each local chain."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from eth_account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import PAYMENT_NETWORKS, NotSettled, Payment, Settled, StillOpen
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.settlement_book import SettlementBook
from compute_router.transport.facilitator.bodies import read_question
from compute_router.transport.facilitator.chain_sides import open_chain_side
from compute_router.transport.facilitator.library_side import LibrarySide
from compute_router.transport.facilitator.settling import Checked, Ended, Settling
from compute_router.transport.payments.evm_chain_reader import EvmChainReader
from compute_router.transport.payments.json_rpc import JsonRpc
from compute_router.transport.payments.solana_chain_reader import SolanaChainReader
from compute_router.transport.payments.solana_programs import COMPUTE_BUDGET, MEMO, TOKEN, token_account
from tests.fakes.signed_payments import TRANSFER
from tools.local_chains.evm import LocalEvm
from tools.local_chains.solana import LocalSolana

PRICE = MicroUsd(10_000)


class Scene:
    """A seeker with a dollar, somebody to pay, and a facilitator with gas."""

    chain: Chain
    seeker: str
    pay_to: str
    key: bytes
    """The facilitator's, as its key file holds it."""
    local: LocalEvm | LocalSolana

    def __init__(self, directory: Path) -> None:
        self.book_path = directory / "facilitator.book"
        self.reader_now = time.time

    def requirements(self, amount: int = PRICE, **changes: Any) -> dict[str, Any]:
        facts = PAYMENT_NETWORKS[self.chain]
        wanted = {
            "scheme": "exact",
            "network": NETWORKS[self.chain].caip2,
            "asset": facts.asset,
            "amount": str(amount),
            "payTo": self.pay_to,
            "maxTimeoutSeconds": 3600,
            "extra": self.extra(),
        }
        return wanted | changes

    def extra(self) -> dict[str, Any]:
        raise NotImplementedError

    def signed(self, **changes: Any) -> dict[str, Any]:
        """The inner payload of a payment, signed now."""
        raise NotImplementedError

    def body(self, inner: dict[str, Any] | None = None, **changes: Any) -> bytes:
        """What is posted to a facilitator, as x402 v2."""
        wanted = self.requirements(**changes)
        payload = {"x402Version": 2, "payload": self.signed() if inner is None else inner, "accepted": wanted}
        return json.dumps(
            {"x402Version": 2, "paymentPayload": payload, "paymentRequirements": wanted}
        ).encode()

    def body_v1(self, inner: dict[str, Any]) -> bytes:
        """The same as x402 v1."""
        name = {Chain.MONAD: "monad-testnet", Chain.SOLANA: "solana-devnet"}[self.chain]
        wanted = self.requirements(network=name)
        wanted["maxAmountRequired"] = wanted.pop("amount")
        wanted |= {"resource": "http://here/v1/jobs", "description": "", "mimeType": "application/json"}
        payload = {"x402Version": 1, "scheme": "exact", "network": name, "payload": inner}
        return json.dumps(
            {"x402Version": 1, "paymentPayload": payload, "paymentRequirements": wanted}
        ).encode()

    @contextmanager
    def facilitator(self, confirm_seconds: float = 10.0) -> Iterator[Facilitating]:
        """A facilitator with the book of all those before it."""
        book = SettlementBook(self.book_path)
        side = open_chain_side(self.chain, self.key, self.local.rpc_url, confirm_seconds=confirm_seconds)
        try:
            yield Facilitating(self.chain, side, book)
        finally:
            side.close()
            book.close()

    def payment(self, inner: dict[str, Any], expires_in: float = 3600.0) -> Payment:
        """The coordinator's record of a payment."""
        wanted = self.requirements()
        return Payment(
            payment_id="p",
            job_id="j",
            payer=self.seeker,
            network=wanted["network"],
            asset=wanted["asset"],
            pay_to=self.pay_to,
            amount=PRICE,
            fee=MicroUsd(500),
            state=PaymentState.UNKNOWN,
            expires_at=UnixMs(int((time.time() + expires_in) * 1000)),
            x402_version=2,
            payload=json.dumps({"x402Version": 2, "payload": inner, "accepted": wanted}).encode(),
            requirements=json.dumps(wanted).encode(),
            credit_token_hash="",
        )

    def reader(self) -> EvmChainReader | SolanaChainReader:
        raise NotImplementedError

    def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What the chain reader says."""

        async def ask() -> Settled | NotSettled | StillOpen:
            reader = self.reader()
            try:
                return await reader.outcome(payment)
            finally:
                await reader.close()

        return asyncio.run(ask())

    def read_balance(self, address: str) -> MicroUsd:
        """What the chain reader says."""

        async def ask() -> MicroUsd:
            reader = self.reader()
            try:
                return await reader.balance(address)
            finally:
                await reader.close()

        return asyncio.run(ask())

    @property
    def paid(self) -> MicroUsd:
        """What the seeker no longer has and the one to pay has, which must be the same."""
        gone = 1_000_000 - self.local.balance(self.seeker)
        assert gone == self.local.balance(self.pay_to)
        return MicroUsd(gone)

    def expire(self) -> None:
        """Let so much time pass on the chain that no authorization of now lives."""
        raise NotImplementedError


class Facilitating:
    """A facilitator without its HTTP side."""

    def __init__(self, chain: Chain, side: LibrarySide, book: SettlementBook) -> None:
        self.chain = chain
        self.side = side
        self.settling = Settling(side, book)

    def verify(self, body: bytes) -> Checked:
        return self.settling.verify(read_question(body, self.chain))

    def settle(self, body: bytes) -> Ended:
        return self.settling.settle(read_question(body, self.chain))


class EvmScene(Scene):
    chain = Chain.MONAD

    def __init__(self, directory: Path, local: LocalEvm) -> None:
        super().__init__(directory)
        self.local = local
        self.account = local.new_key()
        self.seeker = self.account.address
        self.pay_to = local.new_key().address
        fee_payer = local.new_key()
        self.key = bytes(fee_payer.key)
        local.fund_gas(fee_payer.address)
        local.fund(self.seeker, MicroUsd(1_000_000))

    def extra(self) -> dict[str, Any]:
        return {"name": "USDC", "version": "2"}

    def signed(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        said = {
            "from": self.seeker,
            "to": self.pay_to,
            "value": str(PRICE),
            "validAfter": str(now - 600),
            "validBefore": str(now + 3600),
            "nonce": "0x" + os.urandom(32).hex(),
        } | changes
        message = said | {name: int(said[name]) for name in ("value", "validAfter", "validBefore")}
        signature = Account.sign_typed_data(
            self.account.key,
            domain_data={
                "name": "USDC",
                "version": "2",
                "chainId": LocalEvm.chain_id,
                "verifyingContract": PAYMENT_NETWORKS[Chain.MONAD].asset,
            },
            message_types={"TransferWithAuthorization": TRANSFER},
            message_data=message,
        ).signature
        return {"authorization": said, "signature": "0x" + bytes(signature).hex()}

    def reader(self) -> EvmChainReader:
        return EvmChainReader(JsonRpc(self.local.rpc_url), PAYMENT_NETWORKS[Chain.MONAD].asset)

    def expire(self) -> None:
        assert isinstance(self.local, LocalEvm)
        self.local.advance(4000)
        self.local.chain.mine_empty(1)


class SolanaScene(Scene):
    chain = Chain.SOLANA

    def __init__(self, directory: Path, local: LocalSolana) -> None:
        super().__init__(directory)
        self.local = local
        self.keypair = local.new_key()
        self.seeker = str(self.keypair.pubkey())
        self.pay_to = str(local.new_key().pubkey())
        self.fee_payer = local.new_key()
        self.key = bytes(self.fee_payer)
        local.fund_gas(str(self.fee_payer.pubkey()))
        local.fund(self.seeker, MicroUsd(1_000_000))
        local.fund(self.pay_to, MicroUsd(0))

    def extra(self) -> dict[str, Any]:
        return {"feePayer": str(self.fee_payer.pubkey())}

    def signed(self, **changes: Any) -> dict[str, Any]:
        """``value``, ``to``, ``unit_price``, ``memo`` and ``signer`` can be changed; ``more``
        instructions can be added, and ``also`` are keys that sign, too.
        """
        assert isinstance(self.local, LocalSolana)
        asset = PAYMENT_NETWORKS[Chain.SOLANA].asset
        value = int(changes.get("value", PRICE))
        to = changes.get("to", self.pay_to)
        signer: Keypair = changes.get("signer", self.keypair)
        also: list[Keypair] = changes.get("also", [])

        def held_by(owner: str) -> Pubkey:
            return Pubkey.from_string(token_account(owner, asset))

        transfer = Instruction(
            TOKEN,
            bytes([12]) + value.to_bytes(8, "little") + bytes([6]),
            [
                AccountMeta(held_by(self.seeker), is_signer=False, is_writable=True),
                AccountMeta(Pubkey.from_string(asset), is_signer=False, is_writable=False),
                AccountMeta(held_by(to), is_signer=False, is_writable=True),
                AccountMeta(self.keypair.pubkey(), is_signer=True, is_writable=False),
            ],
        )
        unit_price = int(changes.get("unit_price", 1))
        instructions = [
            Instruction(COMPUTE_BUDGET, bytes([2]) + (20_000).to_bytes(4, "little"), []),
            Instruction(COMPUTE_BUDGET, bytes([3]) + unit_price.to_bytes(8, "little"), []),
            transfer,
            *changes.get("more", []),
        ]
        memo = changes.get("memo", os.urandom(8).hex())
        if memo is not None:
            signing_too = [AccountMeta(key.pubkey(), is_signer=True, is_writable=False) for key in also]
            instructions.append(Instruction(MEMO, memo.encode(), signing_too))
        blockhash: Hash = self.local.chain.blockhash()[0]
        message = MessageV0.try_compile(self.fee_payer.pubkey(), instructions, [], blockhash)
        said = to_bytes_versioned(message)
        signing = {str(self.keypair.pubkey()): signer} | {str(key.pubkey()): key for key in also}
        signers = [str(key) for key in message.account_keys[: message.header.num_required_signatures]]
        signatures = [
            signing[key].sign_message(said) if key in signing else Signature.default() for key in signers
        ]
        transaction = VersionedTransaction.populate(message, signatures)
        return {"transaction": base64.b64encode(bytes(transaction)).decode()}

    def reader(self) -> SolanaChainReader:
        asset = PAYMENT_NETWORKS[Chain.SOLANA].asset
        rpc = JsonRpc(self.local.rpc_url)
        return SolanaChainReader(rpc, asset, surely_over=DurationMs(0), now=lambda: self.reader_now())

    def expire(self) -> None:
        assert isinstance(self.local, LocalSolana)
        self.local.advance(120)
        self.reader_now = lambda: time.time() + 4000


def as_json(answer: Checked | Ended) -> Any:
    """An answer as it goes over the wire."""
    return msgspec.to_builtins(answer)
