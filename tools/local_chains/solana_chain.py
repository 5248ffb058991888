"""A Solana chain on LiteSVM: slots by the clock, blockhashes that expire, transactions that land at once."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from solders.account import Account
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.token.associated import get_associated_token_address
from solders.token.state import Mint, TokenAccount, TokenAccountState
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from tools.local_chains.faults import Faults
from tools.local_chains.rpc_server import RpcError

MINT: Final = Pubkey.from_string(PAYMENT_NETWORKS[Chain.SOLANA].asset)
TOKEN_PROGRAM: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
SLOT_S: Final = 0.4
BLOCKHASH_SLOTS: Final = 150
_FIRST_SLOT: Final = 1_000
_SYSTEM: Final = Pubkey.default()
_RENT: Final = 10_000_000
_HISTORY: Final = 100_000
_BLOCKHASH_NOT_FOUND: Final = "BlockhashNotFound"
# What a token transfer without the money says.
_REVERTED: Final = {"InstructionError": [2, {"Custom": 1}]}


@dataclass(frozen=True)
class Landed:
    """A transaction in its slot; ``error`` is Solana's JSON of what went wrong."""

    signature: str
    transaction: VersionedTransaction
    slot: int
    at: int
    error: Any
    logs: list[str]


@dataclass(frozen=True)
class Outcome:
    """What running a transaction gave, or would give."""

    error: Any
    logs: list[str]
    units: int


class SolanaChain:
    """Accounts, slots and transactions. May be called from any thread."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.ahead_s = 0.0
        self.landed: dict[str, Landed] = {}
        self.oldest_slot = 0
        self._held: list[VersionedTransaction] = []
        self._issued: dict[Hash, int] = {}
        self._started = time.time()
        self._lock = threading.RLock()
        # Blockhashes are checked here, for LiteSVM knows only the newest.
        self._svm = LiteSVM().with_blockhash_check(False).with_transaction_history(_HISTORY)
        mint = Mint(mint_authority=None, supply=10**15, decimals=6, is_initialized=True)
        self._svm.set_account(MINT, Account(_RENT, bytes(mint), TOKEN_PROGRAM))

    # What is

    @property
    def now(self) -> float:
        """The chain's time in seconds."""
        return time.time() + self.ahead_s

    @property
    def slot(self) -> int:
        """The present slot, which is the block height too: no slot is skipped."""
        return _FIRST_SLOT + int((self.now - self._started) / SLOT_S)

    def blockhash(self) -> tuple[Hash, int]:
        """The newest blockhash, and the last height at which it is good."""
        with self._lock:
            slot = self.slot
            name = self._named(slot)
            self._issued[name] = slot
            return name, slot + BLOCKHASH_SLOTS

    def newest_blockhashes(self) -> list[Hash]:
        """The last 150, newest first, as the chain keeps them in an account of its own."""
        with self._lock:
            newest = self.slot
            oldest = max(newest - BLOCKHASH_SLOTS, _FIRST_SLOT - 1)
            return [self._named(slot) for slot in range(newest, oldest, -1)]

    def _named(self, slot: int) -> Hash:
        return Hash(hashlib.sha256(f"{self._started}/{slot}".encode()).digest())

    def knows(self, blockhash: Hash) -> bool:
        """Whether a transaction with this blockhash can still land."""
        issued = self._issued.get(blockhash)
        return issued is not None and self.slot <= issued + BLOCKHASH_SLOTS

    def account(self, address: Pubkey) -> Account | None:
        """An account, unless there is none."""
        with self._lock:
            return self._svm.get_account(address)

    def rent(self, size: int) -> int:
        """Lamports that keep an account of a size."""
        with self._lock:
            return self._svm.minimum_balance_for_rent_exemption(size)

    def simulate(
        self, transaction: VersionedTransaction, *, sign_check: bool, fresh_blockhash: bool
    ) -> Outcome:
        """What a transaction would do now."""
        with self._lock:
            if not fresh_blockhash and not self.knows(transaction.message.recent_blockhash):
                return Outcome(_BLOCKHASH_NOT_FOUND, [], 0)
            if sign_check and not _signed(transaction):
                raise RpcError(-32003, "Transaction signature verification failure")
            self._svm.with_sigverify(sign_check)
            try:
                return _outcome(self._svm.simulate_transaction(transaction))
            finally:
                self._svm.with_sigverify(True)

    # What happens

    def send(self, raw: bytes, *, preflight: bool) -> str:
        """Take a transaction, and return its signature. Whether it succeeds is another question.

        Raises:
            RpcError: a node would not take it, or its simulation failed.
        """
        try:
            transaction = VersionedTransaction.from_bytes(raw)
        except ValueError as error:
            raise RpcError(-32602, f"failed to deserialize transaction: {error}") from None
        with self._lock:
            if not _signed(transaction):
                raise RpcError(-32003, "Transaction signature verification failure")
            signature = str(transaction.signatures[0])
            if preflight:
                outcome = self.simulate(transaction, sign_check=True, fresh_blockhash=False)
                if outcome.error is not None:
                    told = {
                        "err": outcome.error,
                        "logs": outcome.logs,
                        "unitsConsumed": outcome.units,
                        "accounts": None,
                    }
                    raise RpcError(-32002, f"Transaction simulation failed: {outcome.error}", told)
            if self.faults.strikes("drop_transactions"):
                return signature
            if self.faults.hold_transactions:
                self._held.append(transaction)
            else:
                self._land(transaction)
            return signature

    def release(self) -> None:
        """Let held transactions land unless their blockhash has expired, and hold none from now on."""
        with self._lock:
            self.faults.hold_transactions = False
            held, self._held = self._held, []
            for transaction in held:
                self._land(transaction)

    def give_lamports(self, address: Pubkey, lamports: int) -> None:
        """Add lamports to an address."""
        with self._lock:
            account = self._svm.get_account(address) or Account(0, b"", _SYSTEM)
            self._svm.set_account(address, Account(account.lamports + lamports, account.data, account.owner))

    def change_tokens(self, owner: Pubkey, units: int) -> None:
        """Add units to an owner's token account, or take them away; makes the account when there is none.

        Raises:
            RpcError: there is less than is to be taken.
        """
        with self._lock:
            amount = (self.tokens(owner) or 0) + units
            if amount < 0:
                raise RpcError(-32000, "insufficient funds")
            data = TokenAccount(
                mint=MINT,
                owner=owner,
                amount=amount,
                delegate=None,
                state=TokenAccountState.Initialized,
                is_native=None,
                delegated_amount=0,
                close_authority=None,
            )
            self._svm.set_account(token_account(owner), Account(_RENT, bytes(data), TOKEN_PROGRAM))

    def tokens(self, owner: Pubkey) -> int | None:
        """Units in an owner's token account, if he has one."""
        account = self.account(token_account(owner))
        return None if account is None else TokenAccount.from_bytes(account.data).amount

    # How

    def _land(self, transaction: VersionedTransaction) -> None:
        signature = str(transaction.signatures[0])
        if signature in self.landed or not self.knows(transaction.message.recent_blockhash):
            return  # a validator leaves it out
        if self.faults.strikes("revert_transactions"):
            outcome = Outcome(_REVERTED, [], 0)
        else:
            outcome = _outcome(self._svm.send_transaction(transaction))
            if isinstance(outcome.error, str):
                return  # it could not pay, or was there before: no block has it
        self.landed[signature] = Landed(
            signature, transaction, self.slot, int(self.now), outcome.error, outcome.logs
        )


def token_account(owner: Pubkey) -> Pubkey:
    """Where an owner's units are."""
    return get_associated_token_address(owner, MINT)


def _signed(transaction: VersionedTransaction) -> bool:
    return all(transaction.verify_with_results())


def _outcome(result: Any) -> Outcome:
    """Read LiteSVM's answer: metadata, or an error with metadata."""
    if isinstance(result, FailedTransactionMetadata):
        error = msgspec.json.decode(result.to_json())["err"]
        return Outcome(error, list(result.meta().logs()), result.meta().compute_units_consumed())
    metadata = result.meta() if hasattr(result, "meta") else result
    return Outcome(None, list(metadata.logs()), metadata.compute_units_consumed())


def decoded(transaction: str, encoding: str) -> bytes:
    """Bytes of a transaction as a request has it.

    Raises:
        RpcError: the encoding is not known.
    """
    if encoding == "base64":
        return base64.b64decode(transaction, validate=True)
    if encoding == "base58":
        # solders has no plain base58; a signature is one of 64 bytes only.
        raise RpcError(-32602, "this chain reads transactions in base64")
    raise RpcError(-32602, f"unknown encoding {encoding}")


def parsed_signature(name: str) -> Signature:
    """A signature.

    Raises:
        RpcError: it is none.
    """
    try:
        return Signature.from_string(name)
    except ValueError as error:
        raise RpcError(-32602, f"invalid signature: {error}") from None
