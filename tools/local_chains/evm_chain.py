"""An EVM chain of py-evm's state: one block for each transaction, at once, and the token at its real address.

Nothing is sealed or proven. A block may have the same second as the one before it, as Monad's have.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eth.abc import ComputationAPI, SignedTransactionAPI
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert, VMError
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from tools.local_chains.faults import Faults
from tools.local_chains.rpc_server import RpcError

CHAIN_ID: Final = 10143
TOKEN: Final = PAYMENT_NETWORKS[Chain.MONAD].asset
BASE_FEE: Final = 50 * 10**9
GAS_LIMIT: Final = 30_000_000
_TOKEN: Final = to_canonical_address(TOKEN)
_NOBODY: Final = Address(bytes(20))
_BLANK_ROOT: Final = Hash32(keccak(b"\x80"))
_ERROR_STRING: Final = keccak(text="Error(string)")[:4]
_REPLACES: Final = 1.1  # of the gas price that a transaction of the same nonce offered


@dataclass(frozen=True)
class Log:
    """An event of a contract."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


_NO_LOGS: tuple[Log, ...] = ()


@dataclass(frozen=True)
class Mined:
    """A transaction in its block."""

    hash: bytes
    sender: bytes
    to: bytes
    transaction: SignedTransactionAPI | None
    succeeded: bool
    gas_used: int
    gas_price: int
    logs: tuple[Log, ...]
    block_number: int


@dataclass(frozen=True)
class Block:
    """A block with one transaction, or with none."""

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    mined: Mined | None


@dataclass
class _Waiting:
    """Transactions of one sender that are in no block yet, by nonce."""

    by_nonce: dict[int, SignedTransactionAPI] = field(default_factory=dict)


def runtime_code() -> bytes:
    """The token's code, as ``compile_token`` wrote it."""
    compiled = json.loads((Path(__file__).parent / "token" / "usdc.json").read_text("utf-8"))
    return bytes.fromhex(compiled["runtime"].removeprefix("0x"))


class EvmChain:
    """State, blocks and waiting transactions. May be called from any thread."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.ahead_s = 0
        self.blocks: list[Block] = []
        self.mined: dict[bytes, Mined] = {}
        self._waiting: dict[bytes, _Waiting] = {}
        self._lock = threading.RLock()
        self._builder = PragueVM.get_transaction_builder()
        self._state = PragueState(AtomicDB(), self._context(0, int(time.time())), _BLANK_ROOT)
        self._state.set_code(_TOKEN, runtime_code())
        self._state.set_nonce(_TOKEN, 1)
        self._state.lock_changes()
        self._seal(None)

    # What is

    @property
    def now(self) -> int:
        """The chain's time in seconds; it can be ahead of the machine's, never behind its last block."""
        at = int(time.time()) + self.ahead_s
        return max(at, self.blocks[-1].timestamp) if self.blocks else at

    def native_balance(self, address: bytes) -> int:
        """Wei of an address."""
        with self._lock:
            return self._state.get_balance(Address(address))

    def code(self, address: bytes) -> bytes:
        """Code of an address."""
        with self._lock:
            return self._state.get_code(Address(address))

    def nonce(self, address: bytes, *, pending: bool = False) -> int:
        """Number of an address's next transaction, behind those that only wait for a block when pending."""
        with self._lock:
            nonce = self._state.get_nonce(Address(address))
            waiting = self._waiting.get(address)
            while pending and waiting is not None and nonce in waiting.by_nonce:
                nonce += 1
            return nonce

    def waiting(self, transaction_hash: bytes) -> SignedTransactionAPI | None:
        """A transaction that is in no block yet."""
        with self._lock:
            for sender in self._waiting.values():
                for transaction in sender.by_nonce.values():
                    if transaction.hash == transaction_hash:
                        return transaction
        return None

    def call(
        self, sender: bytes, to: bytes, data: bytes, value: int = 0, gas: int = GAS_LIMIT
    ) -> tuple[bytes, int]:
        """Result and gas of a call that changes nothing.

        Raises:
            RpcError: it reverted; the message has the reason.
        """
        with self._lock:
            snapshot = self._state.snapshot()
            try:
                computation = self._run(sender, to, data, value, gas)
            finally:
                self._state.revert(snapshot)
            if computation.is_error:
                raise _reverted(computation)
            return computation.output, computation.get_gas_used()

    def token_balance(self, address: bytes) -> int:
        """Units of the token."""
        selector = keccak(text="balanceOf(address)")[:4]
        output, _ = self.call(_NOBODY, _TOKEN, selector + encode(["address"], [address]))
        return int.from_bytes(output, "big")

    # What happens

    def set_native_balance(self, address: bytes, wei: int) -> None:
        """Give an address its gas money."""
        with self._lock:
            self._state.set_balance(Address(address), wei)
            self._state.lock_changes()

    def set_code(self, address: bytes, code: bytes) -> None:
        """Make an address a contract, as if it had been deployed there."""
        with self._lock:
            self._state.set_code(Address(address), code)
            self._state.set_nonce(Address(address), 1)
            self._state.lock_changes()

    def mint(self, address: bytes, units: int) -> None:
        """Make new units for an address."""
        self._impersonate(_NOBODY, "mint(address,uint256)", address, units)

    def move(self, sender: bytes, to: bytes, units: int) -> None:
        """Move units without asking for a signature."""
        self._impersonate(sender, "transfer(address,uint256)", to, units)

    def send_raw(self, raw: bytes) -> bytes:
        """Take a signed transaction, put it into a block when its turn has come, and return its hash.

        Raises:
            RpcError: a node would not take it.
        """
        with self._lock:
            transaction = self._decoded(raw)
            if transaction.hash in self.mined:
                raise RpcError(-32000, "already known")
            self._admit(transaction)
            if self.faults.strikes("drop_transactions"):
                return transaction.hash
            waiting = self._waiting.setdefault(transaction.sender, _Waiting())
            other = waiting.by_nonce.get(transaction.nonce)
            if other is not None and other.hash == transaction.hash:
                raise RpcError(-32000, "already known")
            if other is not None and _price(transaction) < _REPLACES * _price(other):
                raise RpcError(-32000, "replacement transaction underpriced")
            waiting.by_nonce[transaction.nonce] = transaction
            if not self.faults.hold_transactions:
                self._mine_of(transaction.sender)
            return transaction.hash

    def release(self) -> None:
        """Put every waiting transaction whose turn has come into a block, and hold none from now on."""
        with self._lock:
            self.faults.hold_transactions = False
            for sender in list(self._waiting):
                self._mine_of(sender)

    def mine_empty(self, blocks: int) -> None:
        """Add blocks without a transaction."""
        with self._lock:
            for _ in range(blocks):
                self._seal(None)

    # How

    def _decoded(self, raw: bytes) -> SignedTransactionAPI:
        try:
            transaction = self._builder.decode(raw)
            transaction.validate()
            transaction.check_signature_validity()
        except Exception as error:  # whatever a decoder says of bytes that anybody may send
            raise RpcError(-32000, f"the transaction cannot be decoded: {error}") from None
        if transaction.chain_id != CHAIN_ID:
            raise RpcError(-32000, "invalid chain id for signer")
        return transaction

    def _admit(self, transaction: SignedTransactionAPI) -> None:
        nonce = self._state.get_nonce(transaction.sender)
        if transaction.nonce < nonce:
            raise RpcError(-32000, f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        if transaction.gas > GAS_LIMIT:
            raise RpcError(-32000, "exceeds block gas limit")
        if transaction.gas < transaction.intrinsic_gas:
            raise RpcError(-32000, "intrinsic gas too low")
        if transaction.max_fee_per_gas < BASE_FEE:
            raise RpcError(-32000, "max fee per gas less than block base fee")
        cost = transaction.gas * _price(transaction) + transaction.value
        if self._state.get_balance(transaction.sender) < cost:
            raise RpcError(-32000, "insufficient funds for gas * price + value")

    def _mine_of(self, sender: bytes) -> None:
        waiting = self._waiting.get(sender)
        while waiting is not None and (
            transaction := waiting.by_nonce.pop(self._state.get_nonce(Address(sender)), None)
        ):
            self._mine(transaction)

    def _mine(self, transaction: SignedTransactionAPI) -> None:
        number = len(self.blocks)
        self._state.execution_context = self._context(number, self.now)
        price = self._state.get_gas_price(transaction)
        succeeded, gas_used, logs = False, transaction.intrinsic_gas, _NO_LOGS
        if self.faults.strikes("revert_transactions"):
            self._state.increment_nonce(transaction.sender)
            self._state.delta_balance(transaction.sender, -gas_used * price)
        else:
            try:
                computation = self._state.apply_transaction(transaction)
            except ValidationError:
                return  # what it was taken for is gone: a node forgets it
            gas_used = PragueVM.finalize_gas_used(transaction, computation)
            succeeded, logs = computation.is_success, _logs(computation)
        self._state.lock_changes()
        mined = Mined(
            transaction.hash,
            transaction.sender,
            transaction.to,
            transaction,
            succeeded,
            gas_used,
            price,
            logs,
            number,
        )
        self._seal(mined)

    def _impersonate(self, sender: bytes, signature: str, address: bytes, units: int) -> None:
        with self._lock:
            self._state.execution_context = self._context(len(self.blocks), self.now)
            data = keccak(text=signature)[:4] + encode(["address", "uint256"], [address, units])
            snapshot = self._state.snapshot()
            computation = self._run(sender, _TOKEN, data, 0)
            if computation.is_error:
                self._state.revert(snapshot)
                raise _reverted(computation)
            self._state.commit(snapshot)
            self._state.lock_changes()
            number = len(self.blocks)
            name = keccak(b"local chain" + number.to_bytes(8, "big"))
            self._seal(Mined(name, sender, _TOKEN, None, True, 0, 0, _logs(computation), number))

    def _run(self, sender: bytes, to: bytes, data: bytes, value: int, gas: int = GAS_LIMIT) -> ComputationAPI:
        self._state.execution_context = self._context(len(self.blocks), self.now)
        context = self._state.get_transaction_context_class()(gas_price=BASE_FEE, origin=Address(sender))
        message = Message(
            gas=min(gas, GAS_LIMIT),
            to=Address(to),
            sender=Address(sender),
            value=value,
            data=data,
            code=self._state.get_code(Address(to)),
        )
        try:
            return self._state.computation_class.apply_message(self._state, message, context)
        except VMError as error:
            raise RpcError(-32000, f"the call cannot be run: {error}") from None

    def _seal(self, mined: Mined | None) -> None:
        number = len(self.blocks)
        parent = self.blocks[-1].hash if self.blocks else bytes(32)
        at = self.now
        named = parent + number.to_bytes(8, "big") + (mined.hash if mined else b"")
        self.blocks.append(Block(number, hashlib.sha256(named).digest(), parent, at, mined))
        if mined is not None:
            self.mined[mined.hash] = mined

    def _context(self, number: int, at: int) -> ExecutionContext:
        return ExecutionContext(
            coinbase=Address(b"\x01" * 20),
            timestamp=at,
            block_number=BlockNumber(number),
            difficulty=0,
            mix_hash=Hash32(bytes(32)),
            gas_limit=GAS_LIMIT,
            prev_hashes=(),
            chain_id=CHAIN_ID,
            base_fee_per_gas=BASE_FEE,
            excess_blob_gas=0,
        )


def _price(transaction: SignedTransactionAPI) -> int:
    return min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + BASE_FEE)


def _logs(computation: ComputationAPI) -> tuple[Log, ...]:
    return tuple(
        Log(address, tuple(topic.to_bytes(32, "big") for topic in topics), data)
        for address, topics, data in computation.get_log_entries()
    )


def _reverted(computation: ComputationAPI) -> RpcError:
    """As geth says it, so that every client finds the reason."""
    if not isinstance(computation.error, Revert):
        return RpcError(-32000, f"execution failed: {type(computation.error).__name__}")
    output = computation.output
    message = "execution reverted"
    if output[:4] == _ERROR_STRING:
        with contextlib.suppress(DecodingError):
            message += f": {decode(['string'], output[4:])[0]}"
    return RpcError(3, message, "0x" + output.hex())


def transaction_fields(mined: Mined | None, transaction: SignedTransactionAPI) -> dict[str, Any]:
    """Fields of ``eth_getTransactionByHash`` but for the block's."""
    return {
        "hash": "0x" + transaction.hash.hex(),
        "nonce": hex(transaction.nonce),
        "from": "0x" + transaction.sender.hex(),
        "to": "0x" + transaction.to.hex() if transaction.to else None,
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "gasPrice": hex(mined.gas_price if mined else _price(transaction)),
        "input": "0x" + transaction.data.hex(),
        "chainId": hex(CHAIN_ID),
        "v": hex(transaction.y_parity),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
    }
