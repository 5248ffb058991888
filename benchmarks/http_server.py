"""A keep-alive HTTP/1.1 server that is cheap enough not to be what is measured."""

from __future__ import annotations

import asyncio
from typing import Final

from benchmarks.errors import BenchmarkError

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


class KeepAliveServer(asyncio.Protocol):
    """One connection with one question at a time; subclasses answer it by :meth:`reply`, at once or later."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def asked(self, path: bytes, body: bytes) -> None:
        """A question is complete."""
        raise NotImplementedError

    def reply(self, body: bytes) -> None:
        """Answer it, with a JSON body."""
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if not isinstance(transport, asyncio.Transport):
            raise BenchmarkError("The event loop gave something that is no stream transport.")
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer any more."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Collect bytes until the question is complete."""
        buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(_HEAD_END)
        if head_end < 0:
            self._buffer = buffer
            return
        body_start = head_end + len(_HEAD_END)
        head = buffer[:body_start]
        body_end = body_start + _content_length(head)
        if len(buffer) < body_end:
            self._buffer = buffer
            return
        self._buffer = buffer[body_end:]
        self.asked(head.split(b" ", 2)[1], buffer[body_start:body_end])


def _content_length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(_LENGTH)
    return 0 if at < 0 else int(lower[at + len(_LENGTH) : lower.index(b"\r", at)])
