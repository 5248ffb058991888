"""The x402 library's Solana signer, without its faults.

The library's takes a transaction for settled that is in a block but failed; and it takes a connection that
broke while sending for a refusal, though the cluster may have the transaction. So all that it asks of a
node is asked here instead, where a node's refusal and a lost connection are told apart.
"""

from __future__ import annotations

import base64
import contextlib
import re
import time
import warnings
from typing import Any, Final

import httpx

with warnings.catch_warnings():
    # solana announces changes of its own; nothing else is silenced.
    warnings.simplefilter("ignore", FutureWarning)
    from x402.mechanisms.svm import FacilitatorKeypairSigner

from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from compute_router.protocol.networks import Chain
from compute_router.storage.settlement_book import SentTransaction
from compute_router.transport.facilitator import solana_failures
from compute_router.transport.facilitator.attempt import current_attempt
from compute_router.transport.facilitator.node_words import why_not_asked
from compute_router.transport.facilitator.settling import Standing
from compute_router.transport.payments.fee_payer_rules import MOST_PRIORITY_LAMPORTS
from compute_router.transport.payments.json_rpc import NodeError

_SEEN: Final = ("confirmed", "finalized")
_CONFIRMED: Final = {"commitment": "confirmed"}
_CONNECTIONS: Final = 32
_POLL_SECONDS: Final = 0.4
_FIRST_POLL_SECONDS: Final = 0.05
_SEND_AGAIN_SECONDS: Final = 2.0
_RENT_LAMPORTS: Final = 890_880
"""What an account without data must keep."""
_MOST_FEE_LAMPORTS: Final = 2 * 5_000 + MOST_PRIORITY_LAMPORTS
"""Two signatures, and what a payer may ask for."""
_HASH: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}", re.ASCII)
_BAD_SIGNATURE: Final = -32003
_BAD_PARAMETERS: Final = -32602


class SolanaSigner(FacilitatorKeypairSigner):
    """Reads and sends through one RPC node with one key."""

    def __init__(
        self, keypair: bytes, rpc_url: str, *, confirm_seconds: float = 30.0, request_seconds: float = 10.0
    ) -> None:
        """``keypair`` is the secret and the public key.

        Raises:
            ValueError: the two do not belong together.
        """
        key = Keypair.from_bytes(keypair)
        super().__init__(key, rpc_url)
        self._address = str(key.pubkey())
        self._confirm_seconds = confirm_seconds
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        self._http = httpx.Client(timeout=request_seconds, limits=limits, trust_env=False)
        self._rpc_url = rpc_url

    def close(self) -> None:
        """Close the connections to the node."""
        self._http.close()

    def genesis_hash(self) -> str:
        """What names the node's cluster. CAIP-2 takes its first 32 characters.

        Raises:
            Exception: the node cannot be asked, or answers with what is no hash.
        """
        genesis = self._ask("getGenesisHash")
        if not isinstance(genesis, str) or not _HASH.fullmatch(genesis):
            raise ValueError("no genesis hash")
        return genesis

    def gas_balance(self) -> int:
        """What the key has to pay fees with, in lamports."""
        return int(self._ask("getBalance", self._address, _CONFIRMED)["value"])

    def settlements_within(self, gas_balance: int) -> int:
        """How many settlements so much pays for. An account may not sink below its rent."""
        return max(gas_balance - _RENT_LAMPORTS, 0) // _MOST_FEE_LAMPORTS

    def simulate_transaction(self, tx_base64: str, network: str) -> None:
        """Try a transaction out.

        Raises:
            RuntimeError: it would fail.
            Exception: the node cannot be asked; the attempt is told.
        """
        options = {**_CONFIRMED, "encoding": "base64", "sigVerify": True}
        try:
            failed = self._ask("simulateTransaction", tx_base64, options)["value"]["err"]
        except NodeError as error:
            # With these a node means the transaction, with all others itself.
            if error.rpc_code in (_BAD_SIGNATURE, _BAD_PARAMETERS):
                raise RuntimeError(f"Simulation failed: {error.said}") from None
            current_attempt().trouble = "the node answers with an error"
            raise
        except Exception as error:
            current_attempt().trouble = f"the node cannot be asked: {why_not_asked(error, Chain.SOLANA)}"
            raise
        if failed is not None:
            message = VersionedTransaction.from_bytes(base64.b64decode(tx_base64)).message
            attempt = current_attempt()
            attempt.trouble = solana_failures.trouble(failed) or attempt.trouble
            attempt.reason = solana_failures.code(failed, message)
            raise RuntimeError(f"Simulation failed: {failed}")

    def send_transaction(self, tx_base64: str, network: str) -> str:
        """Send a signed transaction; returns its signature. The attempt has it before the node.

        Raises:
            NodeError: the node does not take it.
        """
        raw = base64.b64decode(tx_base64)
        signature = str(VersionedTransaction.from_bytes(raw).signatures[0])
        current_attempt().about_to_send(signature, raw)
        try:
            self._send(raw)
        except NodeError as error:
            # A node behind a balancer may refuse what another one has taken.
            if self._may_be_known(signature):
                return signature
            current_attempt().not_sent(f"the node does not take the transaction: {error.said[:200]}")
            raise
        except Exception:
            # The cluster may have it. From here on only the chain can tell.
            return signature
        return signature

    def confirm_transaction(self, signature: str, network: str, timeout_seconds: int = 30) -> None:
        """Wait until a transaction is confirmed, sending it again now and then, as clusters drop some.

        Raises:
            RuntimeError: it failed, which the attempt is told; or nothing is known of it in time.
        """
        attempt = current_attempt()
        started = sent_at = time.monotonic()
        while True:
            status = self._status(signature)
            if status is not None and status.get("confirmationStatus") in _SEEN:
                if status.get("err") is not None:
                    attempt.failed_on_chain = "transaction_failed"
                    raise RuntimeError("the transaction failed on chain")
                return
            now = time.monotonic()
            if now - started >= self._confirm_seconds:
                raise RuntimeError("nothing is known of the transaction in time")
            if attempt.sent is not None and now - sent_at >= _SEND_AGAIN_SECONDS:
                sent_at = now
                with contextlib.suppress(Exception):
                    self._send(attempt.sent.raw)
            time.sleep(_POLL_SECONDS if now - started > _POLL_SECONDS else _FIRST_POLL_SECONDS)

    def revive(self, transaction: SentTransaction) -> bool:
        """Send a transaction again that was sent, or nearly, before. The same one never counts twice."""
        with contextlib.suppress(NodeError):
            self._send(transaction.raw)
        return True

    def standing(self, transaction_ref: str) -> Standing:
        """Where a transaction is that has settled a payment. Raises when the node cannot be asked."""
        status = self._status(transaction_ref)
        if status is None or status.get("confirmationStatus") not in _SEEN or status.get("err") is not None:
            return Standing.NOWHERE
        return Standing.FINAL if status["confirmationStatus"] == "finalized" else Standing.IN_A_BLOCK

    def _send(self, raw: bytes) -> None:
        # It was tried out just before, and a second trial would only take time.
        options = {"encoding": "base64", "skipPreflight": True, "preflightCommitment": "confirmed"}
        self._ask("sendTransaction", base64.b64encode(raw).decode("ascii"), options)

    def _status(self, signature: str) -> Any:
        answer = self._ask("getSignatureStatuses", [signature], {"searchTransactionHistory": True})
        return answer["value"][0]

    def _may_be_known(self, signature: str) -> bool:
        try:
            return self._status(signature) is not None
        except Exception:
            # Not being able to look must not make it a refusal.
            return True

    def _ask(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        response = self._http.post(self._rpc_url, json=body)
        response.raise_for_status()
        answer = response.json()
        if "error" in answer:
            error = answer["error"]
            raise NodeError(method, int(error.get("code", 0)), str(error.get("message", "")))
        return answer["result"]
