"""Files of keys that move money on a chain. Each holds one key, and its owner alone may read it.

Monad: the private key as 64 hex characters, with or without ``0x``. Solana: a JSON list of 64 bytes, as
``solana-keygen`` writes it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

import msgspec

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_likeness import refuse_key_for_path
from compute_router.protocol.networks import Chain

_EVM: Final = re.compile(rb"(?:0x)?([0-9a-fA-F]{64})\s*")
_SOLANA_BYTES: Final = 64
_LONGEST_FILE: Final = 4096
_ACCESS_FOR_OTHERS: Final = 0o077
_FORMS: Final = {
    Chain.MONAD: "64 hex characters",
    Chain.SOLANA: "a JSON list of 64 numbers, a Solana keypair",
}


def read_chain_key(path: Path, chain: Chain) -> bytes:
    """The key in a file: 32 bytes on Monad, on Solana 64, secret and public.

    Raises:
        ConfigurationError: the file cannot be read, others may read it, or it holds no key of this chain.
    """
    key = parse_chain_key(read_private_bytes(path), chain)
    if key is None:
        raise ConfigurationError(
            f"The key file {path} holds no key of this chain: it must be {_FORMS[chain]}."
        )
    return key


def read_private_bytes(path: Path) -> bytes:
    """What is in the file of a key.

    Raises:
        ConfigurationError: it cannot be read, others may read it, or it is no file. A key in place of a path
            is not repeated.
    """
    refuse_key_for_path(path)
    try:
        # Without O_NONBLOCK a pipe of that name would hang the program.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"The key file {path} cannot be read: it is not a file.")
            content = file.read(_LONGEST_FILE)
    except OSError as error:
        raise ConfigurationError(f"The key file {path} cannot be read: {error.strerror or error}.") from error
    mode = stat.S_IMODE(status.st_mode)
    if mode & _ACCESS_FOR_OTHERS:
        raise ConfigurationError(
            f"The key file {path} is open to other users (mode {mode:04o}). Run: chmod 600 {path}"
        )
    return content


def parse_chain_key(content: bytes, chain: Chain) -> bytes | None:
    """The key that a file of this content holds; None if it holds none of this chain."""
    return _evm(content) if chain is Chain.MONAD else _solana(content)


def _evm(content: bytes) -> bytes | None:
    match = _EVM.fullmatch(content)
    return None if match is None else bytes.fromhex(match[1].decode("ascii"))


def _solana(content: bytes) -> bytes | None:
    try:
        numbers = msgspec.json.decode(content, type=list[int])
        key = bytes(numbers)
    except (msgspec.DecodeError, ValueError, OverflowError):
        return None
    return key if len(key) == _SOLANA_BYTES else None
