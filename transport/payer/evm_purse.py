"""A purse on an EVM chain that pays in a token with EIP-3009.

Each payout is one authorization of the token, whose nonce is made from the payout's id. The token itself
takes an authorization once at the most, and none after its ``validBefore``. So whatever is sent, and however
often, a payout is carried out once or never, and after that time the chain's state says for good which.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from eth_account import Account
from eth_account.messages import encode_typed_data

from compute_router.protocol.chain_addresses import AddressError, checked_address, keccak_256
from compute_router.protocol.evm_words import evm_word
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import (
    PAYMENT_NETWORKS,
    NotSettled,
    Payment,
    Refused,
    Settled,
    StillOpen,
)
from compute_router.protocol.payout_api import OpenPayout
from compute_router.protocol.payout_state import PayoutState
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.transport.payer.ports import Prepared, PurseError
from compute_router.transport.payments.evm_answers import number
from compute_router.transport.payments.evm_chain_reader import AUTHORIZATION_STATE, EvmChainReader
from compute_router.transport.payments.json_rpc import JsonRpc, NodeError

NETWORK: Final = NETWORKS[Chain.MONAD]
FACTS: Final = PAYMENT_NETWORKS[Chain.MONAD]
CHAIN_ID: Final = int(NETWORK.caip2.partition(":")[2])
AUTHORIZATION_LIVES: Final = 3600
"""Seconds. As long as this a payout that went wrong on the chain stays open before it is owed again."""

_CLOCKS_DIFFER_SECONDS: Final = 3600
"""Before a payout was recorded it was not carried out; but the coordinator's clock is not the chain's."""

_TRANSFER: Final = keccak_256(
    b"transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
)[:4]
_GAS_WITHOUT_ESTIMATE: Final = 150_000
_REVERTED: Final = 3
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


class _Transfer(msgspec.Struct, frozen=True):
    """What is recorded of a signed transfer.

    ``signed_since``: seconds since 1970 by the chain's clock; before them it was surely not carried out.
    """

    chain: str
    sender: str
    nonce: int
    authorization: str
    valid_before: int
    raw: str
    signed_since: int


_TRANSFERS: Final = msgspec.json.Decoder(_Transfer)


class EvmPurse:
    """Implements :class:`~compute_router.transport.payer.ports.Purse` for USDC on an EVM chain."""

    def __init__(self, private_key: bytes, rpc: JsonRpc, now: Callable[[], float] = time.time) -> None:
        """``now`` is the time in seconds since 1970."""
        self._account = Account.from_key(private_key)
        self._rpc = rpc
        self._reader = EvmChainReader(rpc, FACTS.asset)
        self._now = now

    @property
    def address(self) -> str:
        """Who pays."""
        return str(self._account.address)

    async def close(self) -> None:
        """Give up the connections."""
        await self._rpc.close()

    async def check(self) -> None:
        """Is the node one of this chain, and is there something to pay fees with?

        Raises:
            PurseError: no.
            ChainUnreadableError: the node does not say.
        """
        chain_id = number(await self._rpc.call("eth_chainId"))
        if chain_id != CHAIN_ID:
            raise PurseError(f"The node is one of chain {chain_id}, not of {NETWORK.label}.")
        if not await self._gas_money():
            raise PurseError(f"{self.address} has nothing to pay the chain's fees with.")

    async def funds(self) -> MicroUsd:
        """What the purse holds of the token."""
        return await self._reader.balance(self.address)

    async def prepare(self, payout: OpenPayout, opened: Sequence[OpenPayout]) -> Prepared | Refused:
        """Sign the transfer of a payout and send it to nobody.

        Raises:
            PurseError: the fees cannot be paid.
            ChainUnreadableError: the node cannot be asked.
        """
        try:
            checked_address(Chain.MONAD, payout.address)
        except AddressError as error:
            return Refused(str(error))
        newest = await self._newest_time()
        # This machine's clock may be behind; so is a chain that is idle.
        valid_before = max(int(self._now()), newest) + AUTHORIZATION_LIVES
        authorization = authorization_nonce(payout.payout_id)
        data = self._call_data(payout, valid_before, authorization)
        call = {"from": self.address, "to": FACTS.asset, "data": data}
        gas = _GAS_WITHOUT_ESTIMATE
        # A payout of a restored database may have been carried out before. Then this transfer must be
        # recorded though the token will not take it: the outcome shows the one that was.
        if await self._is_used(authorization):
            newest = int(datetime.fromisoformat(payout.created_at).timestamp()) - _CLOCKS_DIFFER_SECONDS
        else:
            try:
                gas = number(await self._rpc.call("eth_estimateGas", call)) * 5 // 4
            except NodeError as error:
                if error.rpc_code != _REVERTED:
                    raise
                return Refused(f"the token would not transfer it: {error.said[:200]}")
        fees = await self._fees()
        if await self._gas_money() < gas * fees["maxFeePerGas"]:
            raise PurseError(f"{self.address} has too little to pay the chain's fees with.")
        nonce = await self._next_nonce(opened)
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": CHAIN_ID,
                "nonce": nonce,
                "to": FACTS.asset,
                "value": 0,
                "gas": gas,
                "data": data,
                **fees,
            }
        )
        transfer = _Transfer(
            NETWORK.caip2,
            self.address,
            nonce,
            authorization,
            valid_before,
            "0x" + bytes(signed.raw_transaction).hex(),
            newest,
        )
        return Prepared(msgspec.json.encode(transfer).decode(), "0x" + bytes(signed.hash).hex())

    async def send(self, transaction_data: str) -> None:
        """Send a signed transfer; again is harmless.

        Raises:
            ChainUnreadableError: the node did not say that it took it.
        """
        try:
            await self._rpc.call("eth_sendRawTransaction", _transfer(transaction_data).raw)
        except NodeError as error:
            if "already known" not in error.said.lower() and "nonce too low" not in error.said.lower():
                raise

    async def outcome(self, payout: OpenPayout) -> Settled | NotSettled | StillOpen:
        """What became of a signed transfer, in blocks that are final.

        Raises:
            ChainUnreadableError: the chain cannot be read, or does not reach back far enough.
            PurseError: the transfer is of another chain.
        """
        assert payout.transaction_data is not None
        assert payout.transaction_ref is not None
        transfer = _transfer(payout.transaction_data)
        if transfer.chain != NETWORK.caip2:
            raise PurseError(f"Payout {payout.payout_id} was signed for {transfer.chain[:64]}.")
        return await self._reader.outcome(_as_payment(payout, transfer), transfer.signed_since)

    async def _is_used(self, authorization: str) -> bool:
        data = AUTHORIZATION_STATE + evm_word(self.address) + evm_word(authorization)
        return bool(number(await self._rpc.call("eth_call", {"to": FACTS.asset, "data": data}, "latest")))

    async def _newest_time(self) -> int:
        """Seconds since 1970 of the newest block."""
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        return number(block.get("timestamp") if isinstance(block, dict) else None)

    async def _gas_money(self) -> int:
        return number(await self._rpc.call("eth_getBalance", self.address, "latest"))

    async def _fees(self) -> dict[str, int]:
        price = number(await self._rpc.call("eth_gasPrice"))
        tip = min(number(await self._rpc.call("eth_maxPriorityFeePerGas")), price)
        # Room for a base fee that grows while the transfer waits.
        return {"maxFeePerGas": 2 * price, "maxPriorityFeePerGas": tip}

    async def _next_nonce(self, opened: Sequence[OpenPayout]) -> int:
        """The first nonce that neither the chain nor a recorded transfer has used: no gap, and none twice."""
        recorded = set()
        for payout in opened:
            if payout.transaction_data is not None and payout.state is not PayoutState.RECORDED:
                transfer = _transfer(payout.transaction_data)
                if transfer.sender == self.address:
                    recorded.add(transfer.nonce)
        nonce = number(await self._rpc.call("eth_getTransactionCount", self.address, "pending"))
        while nonce in recorded:
            nonce += 1
        return nonce

    def _call_data(self, payout: OpenPayout, valid_before: int, authorization: str) -> str:
        domain = {
            "name": FACTS.asset_name,
            "version": FACTS.asset_version,
            "chainId": CHAIN_ID,
            "verifyingContract": FACTS.asset,
        }
        values: dict[str, Any] = {
            "from": self.address,
            "to": payout.address,
            "value": payout.amount,
            "validAfter": 0,
            "validBefore": valid_before,
            "nonce": bytes.fromhex(authorization[2:]),
        }
        signed = self._account.sign_message(encode_typed_data(domain, _TYPES, values))
        words = [
            int(self.address, 16),
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


def authorization_nonce(payout_id: str) -> str:
    """The nonce of the one authorization that a payout can have."""
    return "0x" + keccak_256(f"compute-router/payout/v1\n{payout_id}".encode()).hex()


def _as_payment(payout: OpenPayout, transfer: _Transfer) -> Payment:
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


def _transfer(transaction_data: str) -> _Transfer:
    try:
        return _TRANSFERS.decode(transaction_data)
    except msgspec.MsgspecError:
        raise PurseError("The book holds a transfer that this chain's purse did not write.") from None
