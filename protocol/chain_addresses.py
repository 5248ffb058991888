"""Addresses of the two chains: their form, and the checksum of EVM ones (EIP-55)."""

from __future__ import annotations

import re
from typing import Final

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_likeness import looks_like_key
from compute_router.protocol.networks import Chain

_EVM: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES: Final = {letter: value for value, letter in enumerate(_BASE58)}
_SOLANA_BYTES: Final = 32
_LONGEST_BASE58: Final = 44


class AddressError(ConfigurationError):
    """A text is not an address to which money can be sent on this chain."""

    code = "bad_address"


def checked_address(chain: Chain, text: str) -> str:
    """The address in its one form: EVM with its checksum, Solana in base58.

    Raises:
        AddressError: it is no address of this chain, mistyped, or the zero address. The sentence says which.
    """
    return _checked_evm(text) if chain is Chain.MONAD else _checked_solana(text)


def evm_checksum(address: str) -> str:
    """An EVM address with the capitals that EIP-55 gives it. ``address`` is ``0x`` and 40 hex digits."""
    digits = address[2:].lower()
    digest = keccak_256(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, digest, strict=False)
    )


def base58_bytes(text: str) -> bytes:
    """The bytes that a base58 text of at most 44 letters stands for.

    Raises:
        ValueError: it has other letters, is empty or too long.
    """
    if not 0 < len(text) <= _LONGEST_BASE58:
        raise ValueError("not a base58 text of 1 to 44 letters")
    number = 0
    for letter in text:
        if letter not in _BASE58_VALUES:
            raise ValueError("not a base58 letter")
        number = number * 58 + _BASE58_VALUES[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _checked_evm(text: str) -> str:
    if not _EVM.fullmatch(text):
        if _is_solana(text):
            raise AddressError(f"{text} is an address on Solana; on Monad it is 0x and 40 hex digits.")
        raise AddressError(f"{_shown(text)} is not an address on Monad: it is 0x and 40 hex digits.")
    address = evm_checksum(text)
    if not int(text, 16):
        raise AddressError("The zero address belongs to nobody: money that is sent there is lost.")
    digits = text[2:]
    if text != address and digits not in (digits.lower(), digits.upper()):
        raise AddressError(f"{text} is mistyped: its capitals do not fit its digits (EIP-55).")
    return address


def _checked_solana(text: str) -> str:
    if _EVM.fullmatch(text):
        raise AddressError(f"{text} is an EVM address; on Solana it is 32 bytes in base58.")
    if not _is_solana(text):
        raise AddressError(f"{_shown(text)} is not an address on Solana: it is 32 bytes in base58.")
    if not any(base58_bytes(text)):
        raise AddressError("The zero address belongs to nobody: money that is sent there is lost.")
    return text


def _is_solana(text: str) -> bool:
    try:
        return len(base58_bytes(text)) == _SOLANA_BYTES
    except ValueError:
        return False


def _shown(text: str) -> str:
    if looks_like_key(text):
        return "What looks like a private key"
    return repr(text if len(text) <= 64 else text[:61] + "...")


_ROTATIONS: Final = (
    (0, 36, 3, 41, 18),
    (1, 44, 10, 45, 2),
    (62, 6, 43, 15, 61),
    (28, 55, 25, 21, 56),
    (27, 20, 39, 8, 14),
)
_ROUNDS: Final = 24
_RATE: Final = 136
_WORD: Final = (1 << 64) - 1


def keccak_256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it: SHA-3 before its padding was changed, so ``hashlib`` has it not.

    For a few addresses; each block of 136 bytes takes about a third of a millisecond.
    """
    padded = bytearray(data)
    padded.append(0x01)
    padded.extend(bytes(-len(padded) % _RATE))
    padded[-1] |= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), _RATE):
        for place in range(_RATE // 8):
            word = padded[start + 8 * place : start + 8 * place + 8]
            lanes[place % 5][place // 5] ^= int.from_bytes(word, "little")
        lanes = _permuted(lanes)
    return b"".join(lanes[place][0].to_bytes(8, "little") for place in range(4))


def _permuted(lanes: list[list[int]]) -> list[list[int]]:
    """Keccak-f[1600] (FIPS 202, section 3.3)."""
    register = 1
    for _ in range(_ROUNDS):
        columns = [lane[0] ^ lane[1] ^ lane[2] ^ lane[3] ^ lane[4] for lane in lanes]
        mixed = [columns[x - 1] ^ _rotated(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                moved[y][(2 * x + 3 * y) % 5] = _rotated(lanes[x][y] ^ mixed[x], _ROTATIONS[x][y])
        lanes = [
            [moved[x][y] ^ (~moved[(x + 1) % 5][y] & _WORD & moved[(x + 2) % 5][y]) for y in range(5)]
            for x in range(5)
        ]
        for bit in range(7):
            register = ((register << 1) ^ ((register >> 7) * 0x71)) % 256
            if register & 2:
                lanes[0][0] ^= 1 << ((1 << bit) - 1)
    return lanes


def _rotated(word: int, by: int) -> int:
    return ((word << by) | (word >> (64 - by))) & _WORD
