"""The part of Ethereum's JSON-RPC that wallets, facilitators and chain readers use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from eth_utils.address import to_canonical_address, to_checksum_address

from tools.local_chains.evm_chain import (
    BASE_FEE,
    CHAIN_ID,
    GAS_LIMIT,
    Block,
    EvmChain,
    Log,
    Mined,
    transaction_fields,
)
from tools.local_chains.rpc_server import RpcError

_TIP: Final = 2 * 10**9
_PRICE: Final = BASE_FEE + _TIP
_LATEST: Final = ("latest", "pending", "safe", "finalized")
_INTRINSIC: Final = 21_000
_BLANK_BLOOM: Final = "0x" + "00" * 256
_BLANK_HASH: Final = "0x" + "00" * 32
MOST_LOG_BLOCKS: Final = 100
"""Blocks that one ``eth_getLogs`` may ask for; public nodes of Monad's testnet take no more."""


class EvmRpc:
    """Methods over a chain. Only the newest state can be asked for, as of a node that keeps no archive."""

    def __init__(self, chain: EvmChain) -> None:
        self._chain = chain

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Every method by its name."""
        chain = self._chain
        return {
            "web3_clientVersion": lambda: "compute-router-local-chain",
            "net_version": lambda: str(CHAIN_ID),
            "eth_chainId": lambda: hex(CHAIN_ID),
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "eth_gasPrice": lambda: hex(_PRICE),
            "eth_maxPriorityFeePerGas": lambda: hex(_TIP),
            "eth_feeHistory": self._fee_history,
            "eth_blockNumber": lambda: hex(len(chain.blocks) - 1),
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBalance": self._balance,
            "eth_getCode": self._code,
            "eth_getTransactionCount": self._nonce,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": lambda raw: _hex(chain.send_raw(_bytes(raw))),
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getLogs": self._logs,
        }

    def _newest(self, at: Any) -> None:
        """Refuse to read an older state; blocks can be named by number, tag, or EIP-1898 object."""
        if isinstance(at, dict):
            at = at.get("blockNumber", "latest")
        if at not in _LATEST and self._number(at) != len(self._chain.blocks) - 1:
            raise RpcError(-32000, "the state of that block is not available")

    def _number(self, at: str) -> int:
        if at in _LATEST:
            return len(self._chain.blocks) - 1
        return 0 if at == "earliest" else int(at, 16)

    def _balance(self, address: str, at: Any = "latest") -> str:
        self._newest(at)
        return hex(self._chain.native_balance(to_canonical_address(address)))

    def _code(self, address: str, at: Any = "latest") -> str:
        self._newest(at)
        return _hex(self._chain.code(to_canonical_address(address)))

    def _nonce(self, address: str, at: Any = "latest") -> str:
        self._newest(at)
        return hex(self._chain.nonce(to_canonical_address(address), pending=at == "pending"))

    def _call(self, asked: dict[str, Any], at: Any = "latest", *_: Any) -> str:
        self._newest(at)
        gas = int(asked.get("gas", hex(GAS_LIMIT)), 16)
        return _hex(self._chain.call(*_call_parts(asked), gas)[0])

    def _estimate(self, asked: dict[str, Any], *_: Any) -> str:
        sender, to, data, value = _call_parts(asked)
        gas = self._chain.call(sender, to, data, value)[1]
        # Some room above, as nodes leave it: the call inside does not pay for its own data.
        return hex((_INTRINSIC + 16 * len(data) + gas) * 11 // 10 if data else _INTRINSIC)

    def _fee_history(self, count: Any, newest: str, percentiles: list[float] | None = None) -> dict[str, Any]:
        last = self._number(newest)
        blocks = min(int(count, 16) if isinstance(count, str) else count, last + 1)
        return {
            "oldestBlock": hex(last + 1 - blocks),
            "baseFeePerGas": [hex(BASE_FEE)] * (blocks + 1),
            "gasUsedRatio": [0.0] * blocks,
            "reward": [[hex(_TIP)] * len(percentiles or [])] * blocks,
        }

    def _block_by_number(self, at: str, full: bool = False) -> dict[str, Any] | None:
        number = self._number(at)
        blocks = self._chain.blocks
        return self._block(blocks[number], full) if 0 <= number < len(blocks) else None

    def _block_by_hash(self, name: str, full: bool = False) -> dict[str, Any] | None:
        wanted = _bytes(name)
        return next((self._block(block, full) for block in self._chain.blocks if block.hash == wanted), None)

    def _block(self, block: Block, full: bool) -> dict[str, Any]:
        mined = block.mined
        transactions: list[Any] = []
        if mined is not None and mined.transaction is not None:
            name = _hex(mined.hash)
            transactions = [self._transaction(name) if full else name]
        return {
            "number": hex(block.number),
            "hash": _hex(block.hash),
            "parentHash": _hex(block.parent),
            "timestamp": hex(block.timestamp),
            "transactions": transactions,
            "baseFeePerGas": hex(BASE_FEE),
            "gasLimit": hex(GAS_LIMIT),
            "gasUsed": hex(mined.gas_used if mined else 0),
            "miner": "0x" + "01" * 20,
            "difficulty": "0x0",
            "totalDifficulty": "0x0",
            "extraData": "0x",
            "size": "0x0",
            "nonce": "0x0000000000000000",
            "logsBloom": _BLANK_BLOOM,
            "mixHash": _BLANK_HASH,
            "sha3Uncles": _BLANK_HASH,
            "transactionsRoot": _BLANK_HASH,
            "stateRoot": _BLANK_HASH,
            "receiptsRoot": _BLANK_HASH,
            "uncles": [],
        }

    def _transaction(self, name: str) -> dict[str, Any] | None:
        mined = self._chain.mined.get(_bytes(name))
        transaction = mined.transaction if mined else self._chain.waiting(_bytes(name))
        if transaction is None:
            return None
        where = {
            "blockNumber": hex(mined.block_number) if mined else None,
            "blockHash": _hex(self._chain.blocks[mined.block_number].hash) if mined else None,
            "transactionIndex": "0x0" if mined else None,
        }
        return transaction_fields(mined, transaction) | where

    def _receipt(self, name: str) -> dict[str, Any] | None:
        mined = self._chain.mined.get(_bytes(name))
        if mined is None:
            return None
        return {
            "transactionHash": _hex(mined.hash),
            "transactionIndex": "0x0",
            "blockNumber": hex(mined.block_number),
            "blockHash": _hex(self._chain.blocks[mined.block_number].hash),
            "from": to_checksum_address(mined.sender),
            "to": to_checksum_address(mined.to) if mined.to else None,
            "contractAddress": None,
            "status": hex(int(mined.succeeded)),
            "gasUsed": hex(mined.gas_used),
            "cumulativeGasUsed": hex(mined.gas_used),
            "effectiveGasPrice": hex(mined.gas_price),
            "logs": [self._log(mined, index) for index in range(len(mined.logs))],
            "logsBloom": _BLANK_BLOOM,
            "type": "0x2",
        }

    def _logs(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        blocks = self._chain.blocks
        if "blockHash" in asked:
            wanted = _bytes(asked["blockHash"])
            among = [block for block in blocks if block.hash == wanted]
        else:
            first = self._number(asked.get("fromBlock", "latest"))
            last = self._number(asked.get("toBlock", "latest"))
            if last - first > MOST_LOG_BLOCKS:
                raise RpcError(-32614, f"eth_getLogs is limited to a {MOST_LOG_BLOCKS} range")
            among = blocks[first : last + 1]
        addresses = _alternatives(asked.get("address"))
        topics = [_alternatives(topic) for topic in asked.get("topics") or []]
        return [
            self._log(block.mined, index)
            for block in among
            if block.mined is not None
            for index, log in enumerate(block.mined.logs)
            if _matches(log, addresses, topics)
        ]

    def _log(self, mined: Mined, index: int) -> dict[str, Any]:
        log = mined.logs[index]
        block = self._chain.blocks[mined.block_number]
        return {
            "address": to_checksum_address(log.address),
            "topics": [_hex(topic) for topic in log.topics],
            "data": _hex(log.data),
            "blockNumber": hex(block.number),
            "blockHash": _hex(block.hash),
            "blockTimestamp": hex(block.timestamp),
            "transactionHash": _hex(mined.hash),
            "transactionIndex": "0x0",
            "logIndex": hex(index),
            "removed": False,
        }


def _matches(log: Log, addresses: set[bytes] | None, topics: list[set[bytes] | None]) -> bool:
    if addresses is not None and log.address not in addresses:
        return False
    if len(topics) > len(log.topics):
        return False
    return all(wanted is None or topic in wanted for wanted, topic in zip(topics, log.topics, strict=False))


def _alternatives(asked: str | list[str] | None) -> set[bytes] | None:
    if not asked:
        return None
    return {_bytes(one) for one in ([asked] if isinstance(asked, str) else asked)}


def _call_parts(asked: dict[str, Any]) -> tuple[bytes, bytes, bytes, int]:
    if not asked.get("to"):
        raise RpcError(-32000, "contracts cannot be created on this chain")
    sender = to_canonical_address(asked.get("from") or "0x" + "00" * 20)
    data = _bytes(asked.get("input") or asked.get("data") or "0x")
    return sender, to_canonical_address(asked["to"]), data, int(asked.get("value", "0x0"), 16)


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))
