"""WebSocket (RFC 6455) by hand, for frames that no client library would send."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Final

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

_MASK: Final = b"\x00\x00\x00\x00"
"""A mask that changes nothing, so that what is sent can be read."""


class RawWebSocket:
    """The client's end of one WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: str) -> None:
        self._reader = reader
        self._writer = writer
        self.handshake_answer = answer

    @classmethod
    async def open(cls, port: int, headers: Mapping[str, str] | None = None) -> RawWebSocket:
        """Open a connection and shake hands; what was not offered must not be chosen."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        fields = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"GET / HTTP/1.1\r\n{head}\r\n".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert answer.startswith("HTTP/1.1 101 "), answer
        return cls(reader, writer, answer)

    def send(self, data: bytes, opcode: int = TEXT, *, final: bool = True) -> None:
        """Send one frame."""
        first = (0x80 if final else 0) | opcode
        if len(data) < 126:
            head = struct.pack("!BB", first, 0x80 | len(data))
        elif len(data) < 1 << 16:
            head = struct.pack("!BBH", first, 0x80 | 126, len(data))
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, len(data))
        self._writer.write(head + _MASK + data)

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, whatever frames they are or are not."""
        self._writer.write(data)

    def end(self) -> None:
        """Send no more, but go on reading."""
        self._writer.write_eof()

    async def drain(self) -> None:
        """Wait until the other side has room for more."""
        await self._writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: its opcode and data; an abrupt end is an IncompleteReadError."""
        first, size = await self._reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        return first & 0x0F, await self._reader.readexactly(size)

    def pause(self) -> None:
        """Read nothing more, not even into a buffer of one's own."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Cut the connection without a close frame, as a crash does."""
        self._writer.transport.abort()
