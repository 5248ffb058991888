"""Words of the EVM: whatever a contract is asked with, and whatever it notes, is of 32 bytes."""

from __future__ import annotations


def evm_word(value: str) -> str:
    """An address or a nonce as 64 hex digits in lower case, without ``0x``, which ``value`` may have."""
    return value.removeprefix("0x").lower().rjust(64, "0")
