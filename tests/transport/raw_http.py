"""HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawAnswer:
    """One answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, which must be JSON and say so."""
        assert self.headers["content-type"] == "application/json; charset=utf-8", self.headers
        return json.loads(self.body)


class RawConnection:
    """One TCP connection to the coordinator."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    def end(self) -> None:
        """Send no more, but go on reading."""
        self._writer.write_eof()

    async def drain(self) -> None:
        """Wait until the other side has room for more."""
        await self._writer.drain()

    async def answer(self, *, has_body: bool = True) -> RawAnswer:
        """Read the next answer; ``has_body`` False for answers to HEAD."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = {name.lower(): value for name, value in pairs}
        size = int(headers.get("content-length", "0")) if has_body else 0
        return RawAnswer(int(start.split(" ")[1]), headers, await self._reader.readexactly(size))

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        return await self._reader.read()

    def pause(self) -> None:
        """Read nothing more, not even into a buffer of one's own."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Leave without a word."""
        self._writer.transport.abort()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[RawConnection]:
    """Open a connection, and close it in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


def request(method: str, target: str, body: bytes = b"", /, **headers: str) -> bytes:
    """Bytes of a request with a Content-Length; underscores in header names stand for hyphens."""
    fields = {"Host": "coordinator", **({"Content-Length": str(len(body))} if body else {})}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
