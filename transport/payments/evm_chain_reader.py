"""What became of an EIP-3009 authorization, read from an EVM chain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from compute_router.protocol.evm_words import evm_word
from compute_router.protocol.payments import NotSettled, Payment, Settled, StillOpen
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payments.evm_answers import Block, number, read_block
from compute_router.transport.payments.evm_log_search import LogSearch
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc, NodeError
from compute_router.transport.payments.settling_logs import AUTHORIZATION_USED, carries_out

BALANCE_OF: Final = "0x70a08231"
AUTHORIZATION_STATE: Final = "0xe94a0102"
AUTHORIZATION_CANCELED: Final = "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81"

_CLOCKS_DIFFER_SECONDS: Final = 900
_CLOCKS_DIFFER_MOST_SECONDS: Final = 24 * 3600
"""So much longer than it was asked to live an authorization may be taken; see ``evm_authorizations``."""

_NO_SUCH_BLOCK: Final = (-32602, -39001)


class _Transfer(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    sender: str
    validBefore: str  # noqa: N815 - the names of the wire
    nonce: str
    validAfter: str = "0"  # noqa: N815


class _Inner(msgspec.Struct, frozen=True):
    authorization: _Transfer


class _Payload(msgspec.Struct, frozen=True):
    payload: _Inner


class _Requirements(msgspec.Struct, frozen=True, rename="camel"):
    max_timeout_seconds: int = 3600


class EvmChainReader:
    """Implements :class:`~compute_router.actors.payment_ports.ChainReader` for one token of an EVM chain.

    Only what is final is believed, where the node knows of finality: what it says cannot be undone then.
    """

    def __init__(self, rpc: JsonRpc, asset: str) -> None:
        self._rpc = rpc
        self._asset = asset
        self._search = LogSearch(rpc, asset)
        self._knows_finality = False
        self._checked_for: str | None = None

    async def balance(self, payer: str) -> MicroUsd:
        """What a payer has of the token, in the newest block.

        Raises:
            ChainUnreadableError: the chain cannot be read.
        """
        return MicroUsd(number(await self._ask_token(BALANCE_OF + evm_word(payer), "latest")))

    async def outcome(
        self, payment: Payment, signed_since: int | None = None
    ) -> Settled | NotSettled | StillOpen:
        """What became of an authorization, whoever sent it.

        ``signed_since``: seconds since 1970 of the chain; before them nobody can have used it. None: what it
        says itself must do.

        Raises:
            ChainUnreadableError: the chain cannot be read, or its logs do not reach back far enough.
        """
        await self._check_chain(payment.network)
        transfer = msgspec.json.decode(payment.payload, type=_Payload).payload.authorization
        if payment.transaction_ref is None:
            block = await self._last_block()
        else:
            block, receipt = await asyncio.gather(self._last_block(), self._receipt(payment.transaction_ref))
            if receipt is not None and self._settles(receipt, payment, transfer, number(block.number)):
                return Settled(payment.transaction_ref)
        # Of that very block, so that a node behind a balancer mixes in no younger or older one.
        used = await self._ask_token(
            AUTHORIZATION_STATE + evm_word(transfer.sender) + evm_word(transfer.nonce), block.number
        )
        if number(used):
            since = _since(payment, transfer) if signed_since is None else (signed_since,)
            return await self._how_it_was_used(payment, transfer, block, since)
        # The token takes an authorization only in blocks before this time, and time does not go back.
        if number(block.timestamp) >= int(transfer.validBefore):
            return NotSettled("authorization_expired")
        return StillOpen()

    async def has_failed(self, network: str, transaction_ref: str) -> bool:
        """Whether a final block has a transaction as failed, so that it never does anything any more.

        Raises:
            ChainUnreadableError: the chain cannot be read.
        """
        await self._check_chain(network)
        block, receipt = await asyncio.gather(self._last_block(), self._receipt(transaction_ref))
        try:
            return (
                receipt is not None
                and number(receipt["status"]) == 0
                and number(receipt["blockNumber"]) <= number(block.number)
            )
        except LookupError:
            raise ChainUnreadableError("The chain's node answered with what is no receipt.") from None

    async def close(self) -> None:
        """Give up the connections."""
        await self._rpc.close()

    async def _check_chain(self, network: str) -> None:
        """A node of another chain knows nothing of a payment; what it says would be taken for the truth."""
        if self._checked_for == network:
            return
        chain_id = number(await self._rpc.call("eth_chainId"))
        if network != f"eip155:{chain_id}":
            raise ChainUnreadableError(
                f"The node is one of chain {chain_id}, and the payment is of {network}."
            )
        self._checked_for = network

    async def _last_block(self) -> Block:
        try:
            block = read_block(await self._rpc.call("eth_getBlockByNumber", "finalized", False))
        except NodeError as error:
            # Not every node knows of finality. But one that did has trouble of its own now, such as a limit.
            if self._knows_finality or not _says_no_such_block(error):
                raise
            return read_block(await self._rpc.call("eth_getBlockByNumber", "latest", False))
        self._knows_finality = True
        return block

    async def _ask_token(self, data: str, block: str) -> str:
        answer = await self._rpc.call("eth_call", {"to": self._asset, "data": data}, block)
        if not isinstance(answer, str) or len(answer) != 66:
            raise ChainUnreadableError("The chain's node answered eth_call with nonsense.")
        return answer

    async def _how_it_was_used(
        self, payment: Payment, transfer: _Transfer, newest: Block, since: Sequence[int]
    ) -> Settled | NotSettled:
        """A used nonce is no payment yet: its owner may cancel it, or sign it for somebody else too."""
        log = await self._log_of_use(transfer, newest, since)
        if log["topics"][0].lower() == AUTHORIZATION_CANCELED:
            return NotSettled("authorization_cancelled")
        reference = str(log["transactionHash"])
        receipt = await self._rpc.call("eth_getTransactionReceipt", reference)
        if not isinstance(receipt, dict):
            raise ChainUnreadableError("The chain's node does not know a transaction that it named.")
        try:
            settled = self._carries_out(receipt, payment, transfer)
        except (LookupError, TypeError, ValueError):
            raise ChainUnreadableError("The chain's node answered with what is no receipt.") from None
        return Settled(reference) if settled else NotSettled("authorization_used_for_another_payment")

    async def _receipt(self, reference: str) -> dict[str, Any] | None:
        """The receipt of a transaction that somebody named; None when there is none that could help."""
        try:
            receipt = await self._rpc.call("eth_getTransactionReceipt", reference)
        except ChainUnreadableError:
            return None
        return receipt if isinstance(receipt, dict) else None

    def _settles(self, receipt: dict[str, Any], payment: Payment, transfer: _Transfer, newest: int) -> bool:
        """Whether a transaction is the settlement, and final. If not, the whole truth must be sought."""
        try:
            return number(receipt["blockNumber"]) <= newest and self._carries_out(receipt, payment, transfer)
        except (ChainUnreadableError, LookupError, TypeError, ValueError):
            return False

    def _carries_out(self, receipt: dict[str, Any], payment: Payment, transfer: _Transfer) -> bool:
        return carries_out(
            receipt["logs"], self._asset, transfer.sender, transfer.nonce, payment.pay_to, payment.amount
        )

    async def _log_of_use(self, transfer: _Transfer, newest: Block, since: Sequence[int]) -> dict[str, Any]:
        sender, nonce = "0x" + evm_word(transfer.sender), "0x" + evm_word(transfer.nonce)
        topics = [[AUTHORIZATION_USED, AUTHORIZATION_CANCELED], sender, nonce]
        log = await self._search.find(sender + nonce, topics, newest, since)
        if log is None:
            raise ChainUnreadableError("The chain says that an authorization was used, and has no log of it.")
        return log


def _since(payment: Payment, transfer: _Transfer) -> list[int]:
    """Times before which an authorization was used by nobody, likeliest first."""
    lives = msgspec.json.decode(payment.requirements, type=_Requirements).max_timeout_seconds
    likely = int(transfer.validBefore) - lives - _CLOCKS_DIFFER_SECONDS
    # Its maker's clock may be wrong by far. Not that of the chain, which kept the time when it begins.
    return [likely, max(int(transfer.validAfter), likely - _CLOCKS_DIFFER_MOST_SECONDS)]


def _says_no_such_block(error: NodeError) -> bool:
    return error.rpc_code in _NO_SUCH_BLOCK or "unknown block" in error.said.lower()
