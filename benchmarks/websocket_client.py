"""Client side of one WebSocket connection: the handshake, then text frames in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.frames import FrameReader, Opcode, client_frame

_UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_HEAD_END: Final = b"\r\n\r\n"


class WebSocketClient(asyncio.Protocol):
    """One connection. ``on_lost`` hears why the server closed it; nobody hears of :meth:`abort`."""

    def __init__(self, on_text: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._upgraded = False
        self._head = b""
        self._transport: asyncio.Transport | None = None

    def send_frame(self, frame: bytes) -> None:
        """Write a whole frame; nothing is written once the connection is gone."""
        if self._transport is not None:
            self._transport.write(frame)

    def abort(self) -> None:
        """Drop the connection without a word, as a machine does that goes away."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        if not isinstance(transport, asyncio.Transport):
            raise BenchmarkError("The event loop gave something that is no stream transport.")
        self._transport = transport
        transport.write(_UPGRADE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that was not dropped from this side."""
        if self._transport is not None:
            self._transport = None
            self._on_lost(f"the server closed a worker's connection ({exc})")

    def data_received(self, data: bytes) -> None:
        """Read the answer to the upgrade, then frames."""
        if not self._upgraded:
            data = self._read_head(data)
        for opcode, payload in self._reader.feed(data):
            if opcode is Opcode.TEXT:
                self._on_text(payload)
            elif opcode is Opcode.PING:
                self.send_frame(client_frame(payload, Opcode.PONG))

    def _read_head(self, data: bytes) -> bytes:
        """Take the answer to the upgrade off the stream; what remains are frames."""
        self._head += data
        head, end, frames = self._head.partition(_HEAD_END)
        if not end:
            return b""
        if not head.startswith(b"HTTP/1.1 101 "):
            self._on_lost(f"no WebSocket: {head[:100]!r}")
        self._upgraded = True
        return frames
