"""Workers that other people wrote, with the habits that wire.md tells of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from nacl.signing import SigningKey

from compute_router.protocol.receipts import sha256_hex
from tests.transport.raw_websocket import RawWebSocket
from tests.transport.worker_client import SUMMARY, WorkerClient

_KNOWN_FRAMES: Final = frozenset({"register_ack", "heartbeat_ack", "job_assign", "error"})
_DEAF_SECONDS: Final = 0.001
STUB_SIGNATURE: Final = "c3R1Yg=="


class LegacyWorker(WorkerClient):
    """Loses assignments that come together with the acknowledgement, and skips frames that it does not know.

    ``lost`` and ``skipped`` hold those frames. While ``pairing`` is true it drops every assignment, as the
    desktop worker does until its claim is answered.
    """

    def __init__(self, socket: RawWebSocket, key: SigningKey) -> None:
        self.lost: list[dict[str, Any]] = []
        self.skipped: list[dict[str, Any]] = []
        self.pairing = False
        self._deaf_until = 0.0
        super().__init__(socket, key)

    def arrived(self, frame: dict[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        if frame["type"] == "register_ack":
            self._deaf_until = now + _DEAF_SECONDS
        if frame["type"] not in _KNOWN_FRAMES:
            self.skipped.append(frame)
        elif frame["type"] == "job_assign" and (self.pairing or now < self._deaf_until):
            self.lost.append(frame)
        else:
            super().arrived(frame)

    def deliver(self, job_id: str, output: bytes = SUMMARY) -> None:
        """Send a result with its receipt, as the desktop worker does; nothing is awaited."""
        self.send(self.completion(job_id, output))

    def report_own_error(self, job_id: str, message: str) -> None:
        """Send an error as if it were a result, signed like one."""
        self.deliver(job_id, json.dumps({"error": message}).encode())

    def deliver_without_receipt(self, job_id: str, output: bytes = SUMMARY) -> None:
        """Send a result as the phone worker does."""
        frame = {"type": "job_complete", "job_id": job_id, "output_hash": sha256_hex(output)}
        self.send(json.dumps(frame)[:-1].encode() + b',"output":' + output + b"}")

    def submit_receipt(self, job_id: str, signature: str = STUB_SIGNATURE) -> None:
        """Send a receipt by itself; the phone worker's signature is a stub."""
        receipt = self.receipt(job_id)
        frame = b'{"type":"receipt_submit","signature":"%s","receipt":%s}'
        self.send(frame % (signature.encode(), receipt))


@asynccontextmanager
async def legacy_worker(port: int, key: SigningKey | None = None) -> AsyncIterator[LegacyWorker]:
    """Connect as those workers do, offering compression; the connection is cut in the end."""
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    socket = await RawWebSocket.open(port, offer)
    client = LegacyWorker(socket, key or SigningKey.generate())
    try:
        yield client
    finally:
        client.socket.abort()
        await client.closed()
