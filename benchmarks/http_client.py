"""A keep-alive HTTP/1.1 client that is cheap enough not to be what is measured."""

from __future__ import annotations

import asyncio
from typing import Final

from benchmarks.errors import BenchmarkError

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\nContent-Length: "


def get_request(path: str, fields: str = "") -> bytes:
    """Bytes of a GET. ``fields`` are further header lines, each with its line end."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode()


def post_request(path: str, body: bytes, fields: str = "") -> bytes:
    """Bytes of a POST with a JSON body. ``fields`` as of :func:`get_request`."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{fields}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def bearer_field(api_key: str) -> str:
    """The header line that carries an API key."""
    return f"Authorization: Bearer {api_key}\r\n"


class KeepAliveClient(asyncio.Protocol):
    """One connection with at most one request under way; subclasses say what follows an answer."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def send(self, request: bytes) -> None:
        """Write one request."""
        if self._transport is None:
            raise BenchmarkError("A request was sent before its connection was open.")
        self._transport.write(request)

    def close(self) -> None:
        """Close the connection from this side."""
        if self._transport is not None:
            self._transport.close()

    def answered(self, status: int, body: bytes) -> None:
        """An answer is complete."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if not isinstance(transport, asyncio.Transport):
            raise BenchmarkError("The event loop gave something that is no stream transport.")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect bytes until the answer is complete."""
        buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(_HEAD_END)
        if head_end < 0:
            self._buffer = buffer
            return
        body_start = head_end + len(_HEAD_END)
        body_end = body_start + content_length(buffer[:body_start])
        if len(buffer) < body_end:
            self._buffer = buffer
            return
        self._buffer = buffer[body_end:]
        self.answered(int(buffer[9:12]), buffer[body_start:body_end])


def content_length(head: bytes) -> int:
    """Length of the body as the head of an answer states it.

    Raises:
        BenchmarkError: the head states none; the servers measured here always do.
    """
    at = head.find(_LENGTH)
    if at < 0:
        raise BenchmarkError(f"An answer came without Content-Length: {head!r}")
    start = at + len(_LENGTH)
    return int(head[start : head.index(b"\r", start)])
