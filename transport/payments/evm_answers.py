"""What a node of an EVM chain answered, read."""

from __future__ import annotations

from typing import Any

import msgspec

from compute_router.transport.payments.json_rpc import ChainUnreadableError


class Block(msgspec.Struct, frozen=True):
    """What is read of a block."""

    number: str
    timestamp: str


def number(value: Any) -> int:
    """A number of the wire.

    Raises:
        ChainUnreadableError: it is none.
    """
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        raise ChainUnreadableError("The chain's node answered with what is no number.") from None


def read_block(value: Any) -> Block:
    """A block of the wire.

    Raises:
        ChainUnreadableError: it is none.
    """
    try:
        return msgspec.convert(value, Block)
    except msgspec.ValidationError:
        raise ChainUnreadableError("The chain's node answered with what is no block.") from None
