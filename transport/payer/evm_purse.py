"""A purse on an EVM chain that pays in a token with EIP-3009.

Each payout is one authorization of the token, whose nonce is made from the payout's id. The token itself
takes an authorization once at the most, and none after its ``validBefore``. So whatever is sent, and however
often, a payout is carried out once or never, and after that time the chain's state says for good which.
A transaction that failed leaves the authorization unused: another one may carry it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from eth_account import Account

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.evm_words import evm_word
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import NotSettled, Refused, Settled, StillOpen
from compute_router.protocol.payout_api import OpenPayout
from compute_router.protocol.payout_state import PayoutState
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payer.evm_transfer import (
    CHAIN_ID,
    FACTS,
    NETWORK,
    Transfer,
    as_payment,
    authorization_nonce,
    call_data,
    recorded_transfer,
)
from compute_router.transport.payer.ports import Prepared, PurseError
from compute_router.transport.payments.evm_answers import number
from compute_router.transport.payments.evm_chain_reader import AUTHORIZATION_STATE, EvmChainReader
from compute_router.transport.payments.json_rpc import JsonRpc, NodeError

AUTHORIZATION_LIVES: Final = 3600
"""Seconds. As long as this a payout that went wrong on the chain stays open before it is owed again."""

_CLOCKS_DIFFER_SECONDS: Final = 3600
"""Before a payout was recorded it was not carried out; but the coordinator's clock is not the chain's."""

_GAS_WITHOUT_ESTIMATE: Final = 150_000
_REVERTED: Final = 3
_MOST_TRANSACTIONS: Final = 3
"""So often a payout's transfer may fail on the chain, which costs gas, before it is left to expire."""

_TIME_TO_LAND_SECONDS: Final = 60
"""With less left a transaction might come into a block too late."""


class _WouldFailError(PurseError):
    """The chain's trial of a transfer failed."""

    code = "transfer_would_fail"


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
        data = call_data(self._account, payout, valid_before)
        gas = _GAS_WITHOUT_ESTIMATE
        # A payout of a restored database may have been carried out before. Then this transfer must be
        # recorded though the token will not take it: the outcome shows the one that was.
        if await self._is_used(authorization):
            newest = int(datetime.fromisoformat(payout.created_at).timestamp()) - _CLOCKS_DIFFER_SECONDS
        else:
            try:
                gas = await self._gas(data)
            except _WouldFailError as error:
                return Refused(str(error))
        nonce, raw, reference = await self._signed(data, gas, opened)
        transfer = Transfer(NETWORK.caip2, self.address, nonce, authorization, valid_before, raw, newest)
        return Prepared(msgspec.json.encode(transfer).decode(), reference)

    async def renew(self, payout: OpenPayout, opened: Sequence[OpenPayout]) -> Prepared | None:
        """Sign another transaction with the same authorization, when the recorded one failed for good.

        None: no final block shows that it did, or another one is not worth its fees.

        Raises:
            PurseError: the fees cannot be paid, or the token would not transfer it.
            ChainUnreadableError: the node cannot be asked.
        """
        assert payout.transaction_ref is not None
        old = recorded_transfer(payout.transaction_data)
        failed = (*old.failed, payout.transaction_ref)
        if old.sender != self.address or len(failed) >= _MOST_TRANSACTIONS:
            return None
        if not await self._reader.has_failed(old.chain, payout.transaction_ref):
            return None
        if await self._newest_time() + _TIME_TO_LAND_SECONDS > old.valid_before:
            return None
        data = call_data(self._account, payout, old.valid_before)
        nonce, raw, reference = await self._signed(data, await self._gas(data), opened)
        transfer = msgspec.structs.replace(old, nonce=nonce, raw=raw, failed=failed)
        return Prepared(msgspec.json.encode(transfer).decode(), reference)

    async def send(self, transaction_data: str) -> None:
        """Send a signed transfer; again is harmless.

        Raises:
            ChainUnreadableError: the node did not say that it took it.
        """
        try:
            await self._rpc.call("eth_sendRawTransaction", recorded_transfer(transaction_data).raw)
        except NodeError as error:
            if "already known" not in error.said.lower() and "nonce too low" not in error.said.lower():
                raise

    async def outcome(self, payout: OpenPayout) -> Settled | NotSettled | StillOpen:
        """What became of a signed transfer, in blocks that are final.

        Raises:
            ChainUnreadableError: the chain cannot be read, or does not reach back far enough.
            PurseError: the transfer is of another chain.
        """
        transfer = recorded_transfer(payout.transaction_data)
        if transfer.chain != NETWORK.caip2:
            raise PurseError(f"Payout {payout.payout_id} was signed for {transfer.chain[:64]}.")
        return await self._reader.outcome(as_payment(payout, transfer), transfer.signed_since)

    async def _gas(self, data: str) -> int:
        """What a call of the token may use, by a trial of it."""
        call = {"from": self.address, "to": FACTS.asset, "data": data}
        try:
            return number(await self._rpc.call("eth_estimateGas", call)) * 5 // 4
        except NodeError as error:
            if error.rpc_code != _REVERTED:
                raise
            raise _WouldFailError(f"the token would not transfer it: {error.said[:200]}") from None

    async def _signed(self, data: str, gas: int, opened: Sequence[OpenPayout]) -> tuple[int, str, str]:
        """A transaction that calls the token: its nonce, the whole of it and its hash."""
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
        return nonce, "0x" + bytes(signed.raw_transaction).hex(), "0x" + bytes(signed.hash).hex()

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
                transfer = recorded_transfer(payout.transaction_data)
                if transfer.sender == self.address:
                    recorded.add(transfer.nonce)
        nonce = number(await self._rpc.call("eth_getTransactionCount", self.address, "pending"))
        while nonce in recorded:
            nonce += 1
        return nonce
