"""A facilitator and a chain's node in one process, which say what real ones say, and check nothing.

It is fast, so that the coordinator is what is measured. ``/verify`` and ``/settle`` say yes; the node shows
what was settled, and everybody has a million dollars. From ``/hold`` to ``/release`` no settlement is
carried out or answered.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from solders.hash import Hash
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from benchmarks.errors import BenchmarkError
from benchmarks.http_server import KeepAliveServer
from compute_router.protocol.evm_words import evm_word
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.transport.payments.evm_chain_reader import AUTHORIZATION_STATE
from compute_router.transport.payments.settling_logs import AUTHORIZATION_USED, TRANSFER

FEE_PAYER: Final = "2wmVCSfPxGPjrnMMn7rchp4uaeoTqN39mXFC2zhPdri9"
BLOCKHASH: Final = Hash.hash(b"the newest block for ever")
_A_MILLION: Final = 1_000_000_000_000
_BLOCK: Final = 4_000
_PAGE: Final = 1_000
_VERIFIED: Final = b'{"isValid":true,"payer":""}'


class Settlements:
    """What was settled: on EVM by nonce, on Solana by signature and by the account that paid."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._network = NETWORKS[chain].caip2
        self._asset = PAYMENT_NETWORKS[chain].asset
        self._logs: dict[str, list[dict[str, Any]]] = {}
        self._transactions: dict[str, str] = {}
        self._lists: dict[str, list[dict[str, Any]]] = {}

    def supported(self) -> bytes:
        """The answer to ``/supported``."""
        extra = {"feePayer": FEE_PAYER} if self.chain is Chain.SOLANA else {}
        kind = {"x402Version": 2, "scheme": "exact", "network": self._network, "extra": extra}
        return msgspec.json.encode({"kinds": [kind], "extensions": [], "signers": {}})

    def settle(self, body: bytes) -> bytes:
        """Move the money of a payment, and answer ``/settle``."""
        inner = msgspec.json.decode(body)["paymentPayload"]["payload"]
        if self.chain is Chain.MONAD:
            reference = self._settle_evm(inner["authorization"])
        else:
            reference = self._settle_solana(inner["transaction"])
        return msgspec.json.encode({"success": True, "transaction": reference, "network": self._network})

    def ask(self, body: bytes) -> bytes:
        """The node's answer to one JSON-RPC question, or to several."""
        asked = msgspec.json.decode(body)
        if isinstance(asked, list):
            return msgspec.json.encode([self._answer(one) for one in asked])
        return msgspec.json.encode(self._answer(asked))

    def _settle_evm(self, said: dict[str, Any]) -> str:
        nonce: str = said["nonce"].lower()
        payer, to = ("0x" + evm_word(said[who]) for who in ("from", "to"))
        common = {"address": self._asset, "transactionHash": nonce, "blockNumber": hex(_BLOCK)}
        self._logs[nonce] = [
            {**common, "logIndex": "0x0", "topics": [AUTHORIZATION_USED, payer, nonce], "data": "0x"},
            {
                **common,
                "logIndex": "0x1",
                "topics": [TRANSFER, payer, to],
                "data": f"0x{int(said['value']):064x}",
            },
        ]
        return nonce

    def _settle_solana(self, text: str) -> str:
        raw = base64.b64decode(text)
        reference = str(Signature.from_bytes(hashlib.sha512(raw).digest()))
        self._transactions[reference] = text
        message = VersionedTransaction.from_bytes(raw).message
        keys = message.account_keys
        memo = bytes(message.instructions[-1].data).decode()
        source = str(keys[message.instructions[-2].accounts[0]])
        entry = {
            "signature": reference,
            "err": None,
            "memo": f"[{len(memo)}] {memo}",
            "blockTime": int(time.time()),
        }
        self._lists.setdefault(source, []).append(entry)
        return reference

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        result = self._result(asked["method"], asked["params"])
        return {"jsonrpc": "2.0", "id": asked["id"], "result": result}

    def _result(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_call":
                data: str = params[0]["data"]
                if data.startswith(AUTHORIZATION_STATE):
                    return f"0x{'0x' + data[-64:] in self._logs:064x}"
                return f"0x{_A_MILLION:064x}"
            case "eth_chainId":
                return hex(10143)
            case "eth_getBlockByNumber":
                return {"number": hex(_BLOCK), "timestamp": hex(int(time.time()))}
            case "eth_getLogs":
                inside = int(params[0]["fromBlock"], 16) <= _BLOCK <= int(params[0]["toBlock"], 16)
                return self._logs.get(params[0]["topics"][2], [])[:1] if inside else []
            case "eth_getTransactionReceipt":
                logs = self._logs.get(params[0])
                return logs and {"status": "0x1", "blockNumber": hex(_BLOCK), "logs": logs}
            case "getGenesisHash":
                return self._network.removeprefix("solana:")
            case "getFirstAvailableBlock":
                return 0
            case "getTokenAccountBalance":
                return {"value": {"amount": str(_A_MILLION)}}
            case "getSignaturesForAddress":
                return self._lists.get(params[0], [])[: -_PAGE - 1 : -1]
            case "getTransaction":
                found = self._transactions.get(params[0])
                return found and {"transaction": [found, "base64"], "meta": {"err": None}, "slot": _BLOCK}
            case "getAccountInfo":
                newest = (1).to_bytes(8, "little") + bytes(BLOCKHASH) + bytes(8)
                return {"value": {"data": [base64.b64encode(newest).decode(), "base64"]}}
            case "isBlockhashValid":
                return {"value": True}
        raise BenchmarkError(f"This node knows no {method}.")


class Hold:
    """Settlements that wait, None while none has to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] | None = None

    def begin(self) -> None:
        """From now on they wait."""
        self.waiting = []

    def end(self) -> None:
        """Carry out those that waited."""
        waiting, self.waiting = self.waiting or [], None
        for carry_out in waiting:
            carry_out()


class PlayMoney(KeepAliveServer):
    """One connection of a coordinator, or of who measures it."""

    def __init__(self, settlements: Settlements, hold: Hold) -> None:
        super().__init__()
        self._settlements = settlements
        self._hold = hold

    def asked(self, path: bytes, body: bytes) -> None:
        """Answer it."""
        match path:
            case b"/verify":
                self.reply(_VERIFIED)
            case b"/settle" if self._hold.waiting is not None:
                self._hold.waiting.append(partial(self._settle, body))
            case b"/settle":
                self._settle(body)
            case b"/hold":
                self._hold.begin()
                self.reply(b"{}")
            case b"/release":
                self._hold.end()
                self.reply(b"{}")
            case b"/supported":
                self.reply(self._settlements.supported())
            case _:
                self.reply(self._settlements.ask(body))

    def _settle(self, body: bytes) -> None:
        self.reply(self._settlements.settle(body))


async def main(chain: Chain) -> None:
    """Serve on a free loopback port until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    settlements, hold = Settlements(chain), Hold()
    server = await loop.create_server(lambda: PlayMoney(settlements, hold), "127.0.0.1", 0)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(Chain(sys.argv[1])))
