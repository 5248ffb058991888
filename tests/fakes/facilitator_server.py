"""A facilitator over HTTP on a play chain. Signatures are checked for real; it fails as it is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from eth_account import Account
from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import NotSettled, Payment, Settled, StillOpen
from compute_router.protocol.units import MicroUsd
from tests.fakes.signed_payments import evm_message

CUT: Final = "cut"
"""Take the question, carry it out, and end the connection without an answer."""

SILENT: Final = "silent"
"""Take the question, carry it out, and never answer."""

LATE: Final = "late"
"""Take the question, carry it out, and answer when ``late`` is set."""

Fault = str | tuple[int, bytes] | Callable[[dict[str, Any]], tuple[int, bytes]]


class PlayChain:
    """Who has what, and which authorizations were used. Also a :class:`ChainReader` of it."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.has: dict[str, int] = {}
        self.got: dict[str, int] = {}
        self.used: dict[str, str] = {}
        self.readable = True
        self.read = 0

    def move(self, key: str, payer: str, to: str, amount: int) -> str | None:
        """The transaction that moved the money; None: it cannot move."""
        if key in self.used or self.has.get(payer.lower(), 0) < amount:
            return None
        self.has[payer.lower()] -= amount
        self.got[to] = self.got.get(to, 0) + amount
        number = len(self.used) + 1
        reference = f"0x{number:064x}" if self.chain is Chain.MONAD else f"{'5' * 80}{number + 1111}"
        self.used[key] = reference
        return reference

    async def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What became of an authorization."""
        if not self.readable:
            raise OSError("no node")
        inner = json.loads(payment.payload)["payload"]
        reference = self.used.get(key_of(inner))
        return StillOpen() if reference is None else Settled(reference)

    async def balance(self, payer: str) -> MicroUsd:
        """What a payer has."""
        self.read += 1
        if not self.readable:
            raise OSError("no node")
        return MicroUsd(self.has.get(payer.lower(), 0))


def key_of(inner: dict[str, Any]) -> str:
    """What a chain knows an authorization by."""
    if "transaction" in inner:
        return str(inner["transaction"])
    said = inner["authorization"]
    return f"{said['from'].lower()} {said['nonce'].lower()}"


class FacilitatorServer:
    """Counts what it is asked. ``faults`` names what goes wrong for a path."""

    def __init__(self, play: PlayChain) -> None:
        self.play = play
        self.fee_payer = str(Keypair().pubkey())
        self.faults: dict[str, Fault] = {}
        self.late = asyncio.Event()
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        """How often it was asked for a path."""
        return self.asked.count(path)

    async def start(self) -> None:
        """Listen, on the same port each time."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Nobody answers any more."""
        if self._server is not None:
            self._server.close()
            self.late.set()
            for writer in self._open.copy():
                writer.close()
            if self._serving:
                await asyncio.wait(self._serving)
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._answer(reader, writer):
                pass
        self._open.discard(writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ", 2)[1]
        length = next(
            (int(line[15:]) for line in head.split("\r\n") if line.lower()[:15] == "content-length:"), 0
        )
        asked = json.loads(await reader.readexactly(length)) if length else {}
        self.asked.append(path)
        self.bodies.append(asked)
        fault = self.faults.get(path)
        if isinstance(fault, tuple):
            status, body = fault
        elif callable(fault):
            status, body = fault(asked)
        else:
            status, body = 200, json.dumps(self.truth(path, asked)).encode()
        if fault == CUT:
            return False
        if fault == SILENT:
            await reader.read()
            return False
        if fault == LATE:
            await self.late.wait()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        return True

    def truth(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """What a good facilitator answers, and for ``/settle`` does."""
        network = NETWORKS[self.play.chain].caip2
        if path == "/supported":
            extra = {"feePayer": self.fee_payer} if self.play.chain is Chain.SOLANA else {}
            kind = {"x402Version": 2, "scheme": "exact", "network": network, "extra": extra}
            return {"kinds": [kind], "extensions": [], "signers": {"solana:*": [self.fee_payer]}}
        assert asked["x402Version"] == asked["paymentPayload"]["x402Version"] == 2
        wanted = asked["paymentRequirements"]
        assert asked["paymentPayload"]["accepted"] == wanted
        inner = asked["paymentPayload"]["payload"]
        payer, reason = self._checked(inner, wanted)
        if path == "/verify":
            return {"isValid": reason is None, "invalidReason": reason, "payer": payer}
        reference = (
            None if reason else self.play.move(key_of(inner), payer, wanted["payTo"], int(wanted["amount"]))
        )
        return {
            "success": reference is not None,
            "errorReason": reason,
            "payer": payer,
            "transaction": reference or "",
            "network": network,
        }

    def _checked(self, inner: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, str | None]:
        if "transaction" in inner:
            payer = payer_of(inner["transaction"])
        else:
            said = inner["authorization"]
            payer = said["from"]
            signature = inner["signature"]
            if len(signature) != 2 + 2 * 65:
                # Only a contract could have made it, and there are none.
                return payer, "invalid_exact_evm_payload_signature"
            signer = Account.recover_message(evm_message(wanted, said), signature=signature)
            if signer.lower() != payer.lower():
                return payer, "invalid_exact_evm_payload_signature"
        if key_of(inner) in self.play.used:
            return payer, "already_used"
        if self.play.has.get(payer.lower(), 0) < int(wanted["amount"]):
            return payer, "insufficient_funds"
        return payer, None


def payer_of(transaction: str) -> str:
    """Whose tokens a transaction moves: its second signer."""
    return str(VersionedTransaction.from_bytes(base64.b64decode(transaction)).message.account_keys[1])


@contextlib.asynccontextmanager
async def facilitator_server(play: PlayChain) -> AsyncIterator[FacilitatorServer]:
    """A listening facilitator."""
    server = FacilitatorServer(play)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
