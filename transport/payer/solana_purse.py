"""A purse on Solana.

A transfer is one transaction with one signature. The chain takes it once at the most, and never after its
blockhash has expired; so once a final block is beyond that, and nothing of it is known, it can never land.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS, NotSettled, Refused, Settled, StillOpen
from compute_router.protocol.payout_api import OpenPayout
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payer.ports import Prepared, PurseError
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc, NodeError
from compute_router.transport.payments.solana_chain_reader import SolanaChainReader
from compute_router.transport.payments.solana_programs import (
    ASSOCIATED_TOKEN,
    MEMO,
    SYSTEM,
    TOKEN,
    token_account,
)

NETWORK: Final = NETWORKS[Chain.SOLANA]
FACTS: Final = PAYMENT_NETWORKS[Chain.SOLANA]

_MINT: Final = Pubkey.from_string(FACTS.asset)
_DECIMALS: Final = 6
_TRANSFER_CHECKED: Final = b"\x0c"
_CREATE_IF_MISSING: Final = b"\x01"
_CONFIRMED: Final = {"commitment": "confirmed"}
_FINAL: Final = {"commitment": "finalized"}
_LEAST_LAMPORTS: Final = 3_000_000
"""A fee, and the rent of a token account for a worker that has none."""
_SURELY_EXPIRED_BLOCKS: Final = 150
_BAD_PARAMETERS: Final = (-32602, -32003)


class _Transfer(msgspec.Struct, frozen=True):
    """What is recorded of a signed transfer. ``slot`` is one from before it was signed."""

    chain: str
    sender: str
    slot: int
    last_valid_block_height: int
    raw: str


class _Epoch(msgspec.Struct, frozen=True, rename="camel"):
    absolute_slot: int
    block_height: int


class _Context(msgspec.Struct, frozen=True):
    slot: int


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    err: Any = None
    confirmation_status: str | None = None


class _Statuses(msgspec.Struct, frozen=True):
    context: _Context
    value: list[_Status | None]


class _Blockhash(msgspec.Struct, frozen=True, rename="camel"):
    blockhash: str
    last_valid_block_height: int


class _LatestBlockhash(msgspec.Struct, frozen=True):
    context: _Context
    value: _Blockhash


_TRANSFERS: Final = msgspec.json.Decoder(_Transfer)


class SolanaPurse:
    """Implements :class:`~compute_router.transport.payer.ports.Purse` for USDC on Solana."""

    def __init__(self, keypair: bytes, rpc: JsonRpc) -> None:
        """``keypair`` is the secret and the public key.

        Raises:
            ValueError: the two do not belong together.
        """
        self._key = Keypair.from_bytes(keypair)
        self._rpc = rpc
        self._reader = SolanaChainReader(rpc, FACTS.asset)

    @property
    def address(self) -> str:
        """Who pays."""
        return str(self._key.pubkey())

    async def close(self) -> None:
        """Give up the connections."""
        await self._rpc.close()

    async def check(self) -> None:
        """Is the node one of this chain, and is there something to pay fees with?

        Raises:
            PurseError: no.
            ChainUnreadableError: the node does not say.
        """
        genesis = await self._rpc.call("getGenesisHash")
        reference = NETWORK.caip2.partition(":")[2]
        if not isinstance(genesis, str) or not genesis.startswith(reference):
            raise PurseError(f"The node is not one of {NETWORK.label}.")
        await self._check_fees()

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
            checked_address(Chain.SOLANA, payout.address)
        except AddressError as error:
            return Refused(str(error))
        await self._check_fees()
        latest = _read(await self._rpc.call("getLatestBlockhash", _CONFIRMED), _LatestBlockhash)
        message = MessageV0.try_compile(
            self._key.pubkey(), self._instructions(payout), [], Hash.from_string(latest.value.blockhash)
        )
        transaction = VersionedTransaction(message, [self._key])
        raw = base64.b64encode(bytes(transaction)).decode("ascii")
        failure = await self._would_fail(raw)
        if failure is not None:
            return Refused(failure)
        transfer = _Transfer(
            NETWORK.caip2, self.address, latest.context.slot, latest.value.last_valid_block_height, raw
        )
        return Prepared(msgspec.json.encode(transfer).decode(), str(transaction.signatures[0]))

    async def send(self, transaction_data: str) -> None:
        """Send a signed transfer; again is harmless.

        Raises:
            ChainUnreadableError: the node did not say that it took it.
        """
        # It was tried out before it was signed; trying it out once more would refuse one that has landed.
        options = {"encoding": "base64", "skipPreflight": True, "preflightCommitment": "confirmed"}
        await self._rpc.call("sendTransaction", _transfer(transaction_data).raw, options)

    async def renew(self, payout: OpenPayout, opened: Sequence[OpenPayout]) -> Prepared | None:
        """None: here a transaction is the transfer, and one that failed is over for good."""
        return None

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
        # In this order: what can land no more has landed before it is looked for, or never will.
        final = _read(await self._rpc.call("getEpochInfo", _FINAL), _Epoch)
        asked = [payout.transaction_ref], {"searchTransactionHistory": True}
        statuses = _read(await self._rpc.call("getSignatureStatuses", *asked), _Statuses)
        if len(statuses.value) != 1:
            raise ChainUnreadableError("The chain's node answered getSignatureStatuses with nonsense.")
        status = statuses.value[0]
        if status is not None:
            if status.confirmation_status != "finalized":
                return StillOpen()
            return Settled(payout.transaction_ref) if status.err is None else NotSettled("transaction_failed")
        if final.block_height <= transfer.last_valid_block_height + _SURELY_EXPIRED_BLOCKS:
            return StillOpen()
        await self._check_memory(transfer, final, statuses.context.slot)
        return NotSettled("blockhash_expired")

    async def _check_memory(self, transfer: _Transfer, final: _Epoch, looked_at: int) -> None:
        """That a node knows of no transfer means something only if it would know of one."""
        oldest = await self._rpc.call("getFirstAvailableBlock")
        if not isinstance(oldest, int) or oldest > transfer.slot:
            raise ChainUnreadableError("The chain's node keeps too little history to know of a payout.")
        if looked_at < final.absolute_slot:
            raise ChainUnreadableError("The chain's node is behind what it said before.")

    async def _check_fees(self) -> None:
        answer = await self._rpc.call("getBalance", self.address, _CONFIRMED)
        lamports = answer.get("value") if isinstance(answer, dict) else None
        if not isinstance(lamports, int):
            raise ChainUnreadableError("The chain's node answered getBalance with nonsense.")
        if lamports < _LEAST_LAMPORTS:
            raise PurseError(f"{self.address} has too little SOL to pay the chain's fees with.")

    async def _would_fail(self, raw: str) -> str | None:
        options = {**_CONFIRMED, "encoding": "base64", "sigVerify": True}
        try:
            answer = await self._rpc.call("simulateTransaction", raw, options)
        except NodeError as error:
            if error.rpc_code in _BAD_PARAMETERS:
                return f"the chain would not take it: {error.said[:200]}"
            raise
        try:
            failure = answer["value"]["err"]
        except (KeyError, TypeError):
            raise ChainUnreadableError(
                "The chain's node answered simulateTransaction with nonsense."
            ) from None
        return None if failure is None else f"the transfer would fail: {str(failure)[:200]}"

    def _instructions(self, payout: OpenPayout) -> list[Instruction]:
        payer, worker = self._key.pubkey(), Pubkey.from_string(payout.address)
        source, target = (
            Pubkey.from_string(token_account(str(owner), FACTS.asset)) for owner in (payer, worker)
        )
        create = [
            AccountMeta(payer, is_signer=True, is_writable=True),
            AccountMeta(target, is_signer=False, is_writable=True),
            *(AccountMeta(key, is_signer=False, is_writable=False) for key in (worker, _MINT, SYSTEM, TOKEN)),
        ]
        transfer = [
            AccountMeta(source, is_signer=False, is_writable=True),
            AccountMeta(_MINT, is_signer=False, is_writable=False),
            AccountMeta(target, is_signer=False, is_writable=True),
            AccountMeta(payer, is_signer=True, is_writable=False),
        ]
        data = _TRANSFER_CHECKED + int(payout.amount).to_bytes(8, "little") + bytes([_DECIMALS])
        return [
            Instruction(ASSOCIATED_TOKEN, _CREATE_IF_MISSING, create),
            Instruction(TOKEN, data, transfer),
            # Two payouts of one amount to one worker must not be one transaction.
            Instruction(MEMO, payout.payout_id.encode("ascii"), []),
        ]


def _transfer(transaction_data: str) -> _Transfer:
    try:
        return _TRANSFERS.decode(transaction_data)
    except msgspec.MsgspecError:
        raise PurseError("The book holds a transfer that this chain's purse did not write.") from None


def _read(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise ChainUnreadableError("The chain's node answered with what cannot be read.") from None
