"""A worker that a test plays by hand: it sends what the test says, and sees every frame."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from nacl.signing import SigningKey

from compute_router.protocol.messages import registration_message
from compute_router.protocol.receipts import public_key_hex, sha256_hex
from tests.transport.raw_websocket import CLOSE, PING, PONG, TEXT, RawWebSocket

PATIENCE_SECONDS: Final = 10.0
SUMMARY: Final = b'{"summary":"Some text.","word_count":2}'


class WorkerClient:
    """One connection. Frames of every kind arrive in the order of sending."""

    def __init__(self, socket: RawWebSocket, key: SigningKey) -> None:
        self.socket = socket
        self.key = key
        self.pubkey = public_key_hex(key)
        self.challenge: dict[str, Any] = {}
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> int | None:
        """Collect frames until the connection ends; answers the close code."""
        while True:
            try:
                opcode, data = await self.socket.receive()
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            if opcode == CLOSE:
                return int(struct.unpack("!H", data[:2])[0]) if data else None
            if opcode == PING:
                self.socket.send(data, PONG)
            elif opcode == TEXT:
                self.arrived(json.loads(data))

    def arrived(self, frame: dict[str, Any]) -> None:
        """A frame came in."""
        self._frames.put_nowait(frame)

    def send(self, frame: Mapping[str, Any] | str | bytes, opcode: int = TEXT) -> None:
        """Send a frame: an object, or the very text or bytes."""
        text = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        self.socket.send(text.encode() if isinstance(text, str) else text, opcode)

    async def receive(self, frame_type: str | None = None) -> dict[str, Any]:
        """The next frame, which must be of this type."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            frame = await self._frames.get()
        assert frame_type in (None, frame["type"]), f"expected {frame_type}, got {frame}"
        return frame

    async def ask(self, frame: Mapping[str, Any] | str | bytes, opcode: int = TEXT) -> dict[str, Any]:
        """Send a frame and return the next one that comes."""
        self.send(frame, opcode)
        return await self.receive()

    async def hears_nothing(self) -> None:
        """No frame is on its way: the answer to a heartbeat is the next to arrive."""
        self.send({"type": "heartbeat", "provider_pubkey": self.pubkey})
        await self.receive("heartbeat_ack")

    async def closed(self) -> int | None:
        """Wait for the end of the connection; the coordinator's close code, None if it sent none."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await asyncio.shield(self._reading)

    async def register(self, *, proven: bool = False, **fields: Any) -> None:
        """Register, as a desktop worker for everything unless ``fields`` say otherwise."""
        frame = self.registration(proven=proven, **fields)
        ack = await self.ask(frame)
        assert ack["type"] == "register_ack", ack
        assert ack["status"] == "ok", ack

    def registration(self, *, proven: bool = False, **fields: Any) -> dict[str, Any]:
        """A register frame; ``proven`` answers the challenge."""
        frame = {
            "type": "register",
            "provider_pubkey": self.pubkey,
            "provider_type": "DESKTOP",
            "capabilities": ["LLM_INFER", "TASK"],
        }
        if proven:
            nonce = self.challenge["nonce"]
            message = registration_message(self.challenge["network"], nonce, self.pubkey)
            frame |= {"nonce": nonce, "signature": self.sign(message)}
        return frame | fields

    def sign(self, message: bytes) -> str:
        """A detached signature in base64."""
        return base64.b64encode(self.key.sign(message).signature).decode()

    def receipt(self, job_id: str, output: bytes = SUMMARY, /, **changes: Any) -> bytes:
        """The receipt text for an output."""
        fields = {
            "job_id": job_id,
            "provider_pubkey": self.pubkey,
            "output_hash": sha256_hex(output),
            "completed_at": "2026-02-09T12:00:05.000Z",
            "payment_ref": None,
        }
        return json.dumps(fields | changes, separators=(",", ":")).encode()

    def completion(
        self, job_id: str, output: bytes = SUMMARY, receipt: bytes | None = None, **changes: Any
    ) -> bytes:
        """A job_complete frame with a signed receipt; output and receipt go out byte for byte."""
        receipt = self.receipt(job_id, output) if receipt is None else receipt
        fields = {
            "type": "job_complete",
            "job_id": job_id,
            "output_hash": sha256_hex(output),
            "receipt_signature": self.sign(receipt),
        }
        head = json.dumps(fields | changes)[:-1].encode()
        return head + b',"output":' + output + b',"receipt":' + receipt + b"}"

    async def serve(self, job_id: str, output: bytes = SUMMARY) -> None:
        """Take this job, and deliver it with a receipt."""
        assignment = await self.receive("job_assign")
        assert assignment["job_id"] == job_id
        ack = await self.ask(self.completion(job_id, output))
        assert (ack["type"], ack["status"]) == ("job_ack", "accepted"), ack


@asynccontextmanager
async def worker(port: int, key: SigningKey | None = None) -> AsyncIterator[WorkerClient]:
    """Connect and take the challenge; the connection is cut in the end."""
    client = WorkerClient(await RawWebSocket.open(port), key or SigningKey.generate())
    try:
        client.challenge = await client.receive("challenge")
        yield client
    finally:
        client.socket.abort()
        await client.closed()
