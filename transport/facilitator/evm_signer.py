"""The x402 library's EVM signer, without its faults.

The library's loses a nonce when a broadcast fails, so that every later transaction waits for ever; and it
takes a connection that broke while sending for a refusal, though the node may have the transaction.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import requests
import rlp
from requests.adapters import HTTPAdapter
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3RPCError
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import BlockIdentifier
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.constants import TX_STATUS_SUCCESS
from x402.mechanisms.evm.types import TransactionReceipt

from compute_router.protocol.evm_words import evm_word
from compute_router.storage.settlement_book import SentTransaction
from compute_router.transport.facilitator.attempt import current_attempt
from compute_router.transport.facilitator.evm_node import NotingProvider
from compute_router.transport.facilitator.settling import Standing
from compute_router.transport.payments.settling_logs import AUTHORIZATION_USED, carries_out

logger = logging.getLogger(__name__)

_CONNECTIONS: Final = 32
_BLOCKS_BEFORE: Final = 90
"""How far before a failed transaction to look for the one that came first."""


class EvmSigner(FacilitatorWeb3Signer):
    """Reads and sends through one RPC node with one key. Sends one after the other; reads at once."""

    def __init__(
        self,
        private_key: bytes,
        rpc_url: str,
        *,
        confirm_seconds: float = 30.0,
        request_seconds: float = 10.0,
    ) -> None:
        super().__init__(private_key.hex(), rpc_url, confirmation_timeout_seconds=confirm_seconds)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
        self._w3 = Web3(NotingProvider(rpc_url, self._session, request_seconds, self._gas_limit))
        self._w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self._sending = threading.Lock()

    def close(self) -> None:
        """Close the connections to the node."""
        self._session.close()

    def gas_balance(self) -> int:
        """What the key has to pay fees with, in wei."""
        return int(self._w3.eth.get_balance(self._account.address))

    def settlements_within(self, gas_balance: int) -> int:
        """How many settlements so much pays for. The whole gas limit counts: Monad takes the fee for it."""
        return gas_balance // max(self._gas_limit * self._w3.eth.gas_price, 1)

    def write_contract(
        self,
        address: str,
        abi: list[dict[str, Any]],
        function_name: str,
        *args: Any,
        data_suffix: str | None = None,
    ) -> str:
        """Send a call of a contract; returns the transaction's hash. The attempt has it before the node."""
        if data_suffix:
            raise ValueError("no data is appended to settlements")
        contract = self._w3.eth.contract(address=Web3.to_checksum_address(address), abi=abi)
        call = getattr(contract.functions, function_name)(*args)

        def build(nonce: int) -> Any:
            return call.build_transaction(
                {
                    "from": self._account.address,
                    "chainId": self.get_chain_id(),
                    "nonce": nonce,
                    "gas": self._gas_limit,
                    "gasPrice": self._w3.eth.gas_price,
                }
            )

        return self._send(build)

    def send_transaction(self, to: str, data: bytes) -> str:
        """Refused: only settlements are sent.

        Raises:
            ValueError: always.
        """
        raise ValueError("this facilitator deploys no wallets")

    def _send(self, build: Callable[[int], Any]) -> str:
        with self._sending:
            try:
                signed = self._account.sign_transaction(build(self._reserve_nonce()))
                ref = Web3.to_hex(signed.hash)
                current_attempt().about_to_send(ref, bytes(signed.raw_transaction))
                self._broadcast(ref, bytes(signed.raw_transaction))
            except BaseException:
                self._forget_nonce()
                raise
        return ref

    def _broadcast(self, ref: str, raw: bytes) -> None:
        try:
            self._w3.eth.send_raw_transaction(raw)
        except Web3RPCError as error:
            # A node behind a balancer may refuse what another one has taken.
            if "already known" in str(error).lower() or self._is_known(ref):
                return
            current_attempt().not_sent(f"the node does not take the transaction: {_said(error)}")
            raise
        except Exception:
            # The node may have it. From here on only the chain can tell, of the next nonce too.
            self._forget_nonce()

    def _forget_nonce(self) -> None:
        with self._nonce_lock:
            self._next_nonce = None

    def _is_known(self, ref: str) -> bool:
        try:
            self._w3.eth.get_transaction(ref)  # type: ignore[arg-type]  # web3 takes hex text
        except TransactionNotFound:
            return False
        except Exception:
            # Not being able to look must not make it a refusal.
            return True
        return True

    def wait_for_transaction_receipt(self, tx_hash: str) -> TransactionReceipt:
        """Wait for a transaction and read its receipt.

        Raises:
            TimeExhausted: there is none in time.
        """
        try:
            return super().wait_for_transaction_receipt(tx_hash)
        except BaseException:
            # If it is lost, its nonce is free; counting on would leave a gap that blocks every later one.
            self._forget_nonce()
            raise

    def revive(self, transaction: SentTransaction) -> bool:
        """Send a transaction again that was sent, or nearly, before. False: it can never land.

        Raises:
            Exception: the node cannot be asked.
        """
        if self._has_receipt(transaction.transaction_ref):
            return True
        nonce = int.from_bytes(rlp.decode(transaction.raw)[0], "big")
        try:
            self._w3.eth.send_raw_transaction(transaction.raw)
        except Web3RPCError:
            if self._count("latest") > nonce:
                # In this order: when another one has its nonce and it has no receipt after that, it is dead.
                return self._has_receipt(transaction.transaction_ref)
        if self._count("pending") < nonce:
            # Somebody else used this key, and what he sent is lost. Should this one land after all, the token
            # lets only one of the two count.
            logger.warning("transaction %s waits for one that nobody has", transaction.transaction_ref)
            return False
        return True

    def _count(self, block: BlockIdentifier) -> int:
        """How many transactions of the key there are."""
        return int(self._w3.eth.get_transaction_count(self._account.address, block))

    def standing(self, transaction_ref: str) -> Standing:
        """Where a transaction is that has settled a payment. Raises when the node cannot be asked."""
        try:
            receipt = self._w3.eth.get_transaction_receipt(transaction_ref)  # type: ignore[arg-type]
        except TransactionNotFound:
            return Standing.NOWHERE
        if receipt["status"] != TX_STATUS_SUCCESS:
            return Standing.NOWHERE
        final = self._w3.eth.get_block("finalized")["number"]
        return Standing.FINAL if receipt["blockNumber"] <= final else Standing.IN_A_BLOCK

    def block_time(self, transaction_ref: str) -> int:
        """The time of the block that a transaction is in, in seconds since 1970.

        Raises:
            Exception: the node cannot be asked, or does not know it.
        """
        receipt = self._w3.eth.get_transaction_receipt(transaction_ref)  # type: ignore[arg-type]
        return int(self._w3.eth.get_block(receipt["blockNumber"])["timestamp"])

    def is_stopped(self, asset: str, payer: str, pay_to: str) -> bool:
        """Whether the token's issuer lets nobody pay, or not one of these two. Many tokens cannot say so."""
        if self._says_yes(asset, "paused"):
            return True
        return any(self._says_yes(asset, "isBlacklisted", who) for who in (payer, pay_to))

    def _says_yes(self, asset: str, name: str, *addresses: str) -> bool:
        abi = _question(name, len(addresses))
        try:
            return bool(self.read_contract(asset, abi, name, *map(Web3.to_checksum_address, addresses)))
        # It has no such function; if it was the node, the attempt was told.
        except Exception:
            return False

    def _has_receipt(self, ref: str) -> bool:
        try:
            self._w3.eth.get_transaction_receipt(ref)  # type: ignore[arg-type]  # web3 takes hex text
        except TransactionNotFound:
            return False
        return True

    def carried_out_by(
        self, failed: str, asset: str, payer: str, nonce: str, pay_to: str, amount: int
    ) -> str | None:
        """The transaction of somebody else that carried out an authorization while ours failed, or None.

        Anybody who sees an authorization on its way to the chain may send it himself, ahead of us.
        """
        block = int(self._w3.eth.get_transaction_receipt(failed)["blockNumber"])  # type: ignore[arg-type]
        logs = self._w3.eth.get_logs(
            {
                "address": Web3.to_checksum_address(asset),
                "fromBlock": max(0, block - _BLOCKS_BEFORE),
                "toBlock": block,
                "topics": [
                    AUTHORIZATION_USED,
                    "0x" + evm_word(payer),
                    nonce.lower(),
                ],
            }
        )
        for log in logs:
            receipt = self._w3.eth.get_transaction_receipt(log["transactionHash"])
            if carries_out(receipt["logs"], asset, payer, nonce, pay_to, amount):
                return Web3.to_hex(log["transactionHash"])
        return None


def _question(name: str, addresses: int) -> list[dict[str, Any]]:
    asked = [{"name": "", "type": "address"}] * addresses
    told = [{"name": "", "type": "bool"}]
    return [{"type": "function", "name": name, "inputs": asked, "outputs": told, "stateMutability": "view"}]


def _said(error: Web3RPCError) -> str:
    answer = getattr(error, "rpc_response", None) or {}
    detail = answer.get("error")
    return str(detail.get("message") if isinstance(detail, dict) else error)[:200]
