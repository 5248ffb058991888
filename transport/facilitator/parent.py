"""The pipe between a facilitator and the coordinator that started it: what it says at first, and its end."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from compute_router.protocol.errors import ConfigurationError

_LONGEST_LINE: Final = 8192


class Whispered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line that the coordinator writes first. Both are secret: command lines and environments are not.

    ``secret`` must come with each question, so that nobody else on the machine can have payments settled.
    """

    rpc_url: str
    secret: str

    def line(self) -> bytes:
        """As it is written."""
        return msgspec.json.encode(self) + b"\n"

    def __repr__(self) -> str:
        return "Whispered(...)"


def hear() -> Whispered:
    """Read the first line of standard input, and no more.

    Raises:
        ConfigurationError: it is no such line.
    """
    line = bytearray()
    while len(line) < _LONGEST_LINE and (letter := os.read(0, 1)) not in (b"", b"\n"):
        line += letter
    try:
        return msgspec.json.decode(line, type=Whispered)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigurationError("--supervised is for facilitators that a coordinator starts.") from None


def end_with_parent() -> None:
    """Wait for the end of standard input, and end this process at once.

    Whoever started it holds the other end of the pipe; it closes however he ends. His next facilitator needs
    the book, and finds in it what was sent: nothing is gained by waiting for blocks that nobody asks about.
    """
    while os.read(0, 4096):
        pass
    os._exit(0)
