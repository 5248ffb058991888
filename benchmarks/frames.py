"""Client side of WebSocket framing (RFC 6455), just as much as simulated workers need."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from benchmarks.errors import BenchmarkError


class Opcode(IntEnum):
    """Kind of a frame."""

    TEXT = 1
    CLOSE = 8
    PING = 9
    PONG = 10


_FINAL: Final = 0x80
_MASKED: Final = 0x80
_TWO_BYTE_LENGTH: Final = 126
_EIGHT_BYTE_LENGTH: Final = 127

# Clients must mask, but may choose the key. With zeros the payload stays as it is, which costs the
# generator nothing; the server unmasks with the same work as for any key.
_MASK_KEY: Final = b"\0\0\0\0"


def client_frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """One masked, unfragmented frame."""
    length = len(payload)
    if length < _TWO_BYTE_LENGTH:
        head = bytes((_FINAL | opcode, _MASKED | length))
    elif length < 1 << 16:
        head = bytes((_FINAL | opcode, _MASKED | _TWO_BYTE_LENGTH)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, _MASKED | _EIGHT_BYTE_LENGTH)) + length.to_bytes(8, "big")
    return head + _MASK_KEY + payload


class FrameReader:
    """Cuts the server's bytes into frames, however they were split on the way."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """Yield the frames that are complete with this data.

        Raises:
            BenchmarkError: a fragmented frame or one of an unexpected kind.
        """
        buffer = self._buffer + data if self._buffer else data
        start = 0
        while (span := _payload_span(buffer, start)) is not None and span[1] <= len(buffer):
            yield _opcode(buffer[start]), buffer[span[0] : span[1]]
            start = span[1]
        self._buffer = buffer[start:]


def _payload_span(buffer: bytes, start: int) -> tuple[int, int] | None:
    """First index of a frame's payload and the one after it; None while the head is incomplete."""
    available = len(buffer) - start
    if available < 2:
        return None
    length = buffer[start + 1]
    if length < _TWO_BYTE_LENGTH:
        first = start + 2
    elif length == _TWO_BYTE_LENGTH:
        first = start + 4
        if available < 4:
            return None
        length = int.from_bytes(buffer[start + 2 : first], "big")
    else:
        first = start + 10
        if available < 10:
            return None
        length = int.from_bytes(buffer[start + 2 : first], "big")
    return first, first + length


def _opcode(first_byte: int) -> Opcode:
    try:
        return Opcode(first_byte & ~_FINAL) if first_byte & _FINAL else _refuse(first_byte)
    except ValueError:
        return _refuse(first_byte)


def _refuse(first_byte: int) -> Opcode:
    raise BenchmarkError(f"The server sent a WebSocket frame that starts with {first_byte:#x}.")
