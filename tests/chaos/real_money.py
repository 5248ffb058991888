"""A local chain with everybody's keys and money on it, and its transfers as the books compare them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.errors import WalletError
from compute_router.sdk.wallet import Wallet
from tests.chaos.money_books import ChainBook, Transfer
from tests.chaos.purses import UnsignedError

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

_RICH: Final = MicroUsd(1_000_000_000)
_FASTER: Final = 9
"""So many seconds of Solana's more pass in a second, because blockhashes live for a minute."""

_TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
_TRANSFER_CHECKED: Final = 12


class WalletSigner:
    """The SDK's wallet, and the ids that payments have by the facts of their chain."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet
        self.payer = wallet.address.lower() if wallet.chain is Chain.MONAD else wallet.address

    def sign(self, requirement: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """See :class:`~tests.chaos.purses.Signs`."""
        try:
            inner = self._wallet.sign(requirement)
        except WalletError as error:
            raise UnsignedError(str(error)) from None
        if self._wallet.chain is Chain.SOLANA:
            return inner, solana_payment_id(base64.b64decode(inner["transaction"]))
        nonce = inner["authorization"]["nonce"].lower()
        return inner, f"{requirement['network']}/{requirement['asset'].lower()}/{self.payer}/{nonce}"


def solana_payment_id(transaction: bytes) -> str:
    """The id of the payment that a transaction makes."""
    from solders.message import to_bytes_versioned
    from solders.transaction import VersionedTransaction

    message = to_bytes_versioned(VersionedTransaction.from_bytes(transaction).message)
    return f"{NETWORKS[Chain.SOLANA].caip2}/{hashlib.sha256(message).hexdigest()}"


class RealMoney:
    """A chain in this process; keys are in files in a directory, for the programs that use them."""

    def __init__(self, chain: Chain, directory: Path, seekers: int, workers: int) -> None:
        self.chain = chain
        self.local = _open(chain)
        self._directory = directory
        self._started = time.monotonic()
        self._jumped = 0.0
        keys = [self.local.new_key() for _ in range(seekers)]
        self.signers = [WalletSigner(Wallet(chain, _secret(key), rpc_url=self.local.rpc_url)) for key in keys]
        self._payers = [_address(key) for key in keys]
        operator, gas, purse = (self.local.new_key() for _ in range(3))
        self.operator, self._gas, self._purse = _address(operator), _address(gas), _address(purse)
        self.gas_key, self.purse_key = directory / "gas.key", directory / "purse.key"
        _write_key(self.gas_key, gas)
        _write_key(self.purse_key, purse)
        self.worker_addresses = [_address(self.local.new_key()) for _ in range(workers)]
        for payer in (*self._payers, self._purse):
            self.local.fund(payer, _RICH)
        for spender in (self._gas, self._purse):
            self.local.fund_gas(spender)
        self.local.fund(self.operator, MicroUsd(0))

    def close(self) -> None:
        """Stop serving."""
        self.local.close()

    def tick(self) -> None:
        """Time passes, on Solana faster than here."""
        if self.chain is Chain.SOLANA:
            self.local.chain.ahead_s = self._jumped + (time.monotonic() - self._started) * _FASTER

    def outlive_authorizations(self) -> None:
        """Jump ahead so far that nothing that was signed until now can still be carried out."""
        self._jumped += 120 if self.chain is Chain.SOLANA else 4_000
        if self.chain is Chain.SOLANA:
            self.tick()
        else:
            self.local.advance(4_000)
            self.local.chain.mine_empty(1)  # type: ignore[union-attr]

    def heal(self) -> None:
        """The chain's node is well from now on."""
        well = {"down": False, "delay_s": 0.0, "hold_transactions": False}
        counters = ("refuse_broadcasts", "lose_answers", "drop_transactions", "revert_transactions")
        self.local.faults.set(well | dict.fromkeys(counters, 0))
        self.local.release()

    def vouches(self, payer: str, amount: int, reference: str | None) -> bool:
        """Whether a transaction moved so much from a payer to the operator."""
        return any(one.reference == reference and one.amount == amount for one in self._payments())

    def book(self) -> ChainBook:
        """What the chain says of everything."""
        wages = {address: self.local.balance(address) for address in self.worker_addresses}
        gone = {
            signer.payer: _RICH - self.local.balance(payer)
            for signer, payer in zip(self.signers, self._payers, strict=True)
        }
        came = self.local.balance(self.operator)
        return ChainBook(list(self._payments()), list(self._payouts()), gone, came, wages)

    def _payments(self) -> Iterator[Transfer]:
        return (
            Transfer(name, amount, reference)
            for name, source, _, amount, reference in self._transfers()
            if source != self._purse
        )

    def _payouts(self) -> Iterator[Transfer]:
        return (
            Transfer(target, amount, reference)
            for _, source, target, amount, reference in self._transfers()
            if source == self._purse
        )

    def _transfers(self) -> Iterator[tuple[str, str, str, int, str]]:
        """Payment's id, who paid, who got it, how much, and the transaction."""
        return self._on_solana() if self.chain is Chain.SOLANA else self._on_evm()

    def _on_solana(self) -> Iterator[tuple[str, str, str, int, str]]:
        from solders.pubkey import Pubkey

        from tools.local_chains.solana_chain import token_account

        owners = {
            str(token_account(Pubkey.from_string(owner))): owner
            for owner in (self.operator, *self.worker_addresses)
        }
        for landed in list(self.local.chain.landed.values()):  # type: ignore[union-attr]
            message = landed.transaction.message
            keys = [str(key) for key in message.account_keys]
            for instruction in message.instructions if landed.error is None else ():
                data = bytes(instruction.data)
                if keys[instruction.program_id_index] == _TOKEN_PROGRAM and data[0] == _TRANSFER_CHECKED:
                    amount = int.from_bytes(data[1:9], "little")
                    target = owners[keys[instruction.accounts[2]]]
                    name = solana_payment_id(bytes(landed.transaction))
                    yield name, keys[instruction.accounts[3]], target, amount, landed.signature

    def _on_evm(self) -> Iterator[tuple[str, str, str, int, str]]:
        from eth_utils.crypto import keccak

        authorization_used = keccak(text="AuthorizationUsed(address,bytes32)")
        transfer = keccak(text="Transfer(address,address,uint256)")
        asset = PAYMENT_NETWORKS[Chain.MONAD].asset.lower()
        known = {one.lower(): one for one in (self.operator, self._purse, *self.worker_addresses)}
        for mined in list(self.local.chain.mined.values()):  # type: ignore[union-attr]
            by_topic = {log.topics[0]: log for log in mined.logs}
            used, moved = by_topic.get(authorization_used), by_topic.get(transfer)
            if used is not None and moved is not None:
                payer, target = ("0x" + topic[-20:].hex() for topic in moved.topics[1:3])
                name = f"{NETWORKS[Chain.MONAD].caip2}/{asset}/{payer}/0x{used.topics[2].hex()}"
                amount = int.from_bytes(moved.data, "big")
                yield name, known.get(payer, payer), known[target], amount, "0x" + mined.hash.hex()


def _open(chain: Chain) -> LocalEvm | LocalSolana:
    # Only one of them is imported: each costs time.
    if chain is Chain.MONAD:
        from tools.local_chains.evm import LocalEvm

        return LocalEvm()
    from tools.local_chains.solana import LocalSolana

    return LocalSolana()


def _secret(key: Any) -> bytes:
    return bytes(key.key) if hasattr(key, "key") else bytes(key)


def _address(key: Any) -> str:
    return str(key.address if hasattr(key, "address") else key.pubkey())


def _write_key(path: Path, key: Any) -> None:
    text = key.key.hex() if hasattr(key, "key") else json.dumps(list(bytes(key)))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
