"""Who signed an EIP-3009 authorization, found out without asking anybody (EIP-712).

Only keys can be read from a signature, which then has 65 bytes. Wallets that are contracts have longer ones,
and only their chain can say whether these are good.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final

import msgspec
from coincurve import PublicKey
from Crypto.Hash import keccak
from msgspec import Meta

KEY_SIGNATURE_BYTES: Final = 65

_Address = Annotated[str, Meta(pattern=r"\A0x[0-9a-fA-F]{40}\Z")]
_Nonce = Annotated[str, Meta(pattern=r"\A0x[0-9a-fA-F]{64}\Z")]
_Uint = Annotated[str, Meta(pattern=r"\A(0|[1-9][0-9]{0,77})\Z")]

_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_RECOVERY_IDS: Final = {27: b"\x00", 28: b"\x01"}


class Transfer(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """What is signed, as it comes: what it says may be wrong, but not its form."""

    sender: _Address
    to: _Address
    value: _Uint
    validAfter: _Uint  # noqa: N815 - the names of the wire, and written again as they are
    validBefore: _Uint  # noqa: N815
    nonce: _Nonce


def signer(transfer: Transfer, domain: bytes, signature: bytes) -> str | None:
    """The address whose key made a signature of 65 bytes, in small letters; None: no key did.

    ``domain`` is that of :func:`domain_of`. Only the one form of a signature counts that tokens take: a small
    ``s``, and 27 or 28 for ``v``.
    """
    recovery_id = _RECOVERY_IDS.get(signature[64])
    if recovery_id is None or int.from_bytes(signature[32:64], "big") > _CURVE_ORDER // 2:
        return None
    signed = digest(transfer, domain)
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + recovery_id, signed, hasher=None)
    except ValueError:
        return None
    return address_of(key)


def digest(transfer: Transfer, domain: bytes) -> bytes:
    """The 32 bytes that are signed. ``domain`` is that of :func:`domain_of`."""
    return _keccak(b"\x19\x01" + domain + _struct(transfer))


def address_of(key: PublicKey) -> str:
    """The address of a key, in small letters."""
    return "0x" + _keccak(key.format(compressed=False)[1:])[-20:].hex()


@lru_cache(maxsize=16)
def domain_of(name: str, version: str, network: str, asset: str) -> bytes:
    """The separator of a token's domain. ``network`` is its CAIP-2 id."""
    chain_id = int(network.removeprefix("eip155:"))
    return _keccak(
        _DOMAIN
        + _keccak(name.encode())
        + _keccak(version.encode())
        + chain_id.to_bytes(32, "big")
        + _address(asset)
    )


def _struct(transfer: Transfer) -> bytes:
    return _keccak(
        _TRANSFER
        + _address(transfer.sender)
        + _address(transfer.to)
        + int(transfer.value).to_bytes(32, "big")
        + int(transfer.validAfter).to_bytes(32, "big")
        + int(transfer.validBefore).to_bytes(32, "big")
        + bytes.fromhex(transfer.nonce[2:])
    )


def _address(text: str) -> bytes:
    return bytes(12) + bytes.fromhex(text[2:])


def _keccak(data: bytes) -> bytes:
    # In C, because each paid commit comes here. ``protocol`` has one in Python, for a few addresses.
    return keccak.new(digest_bits=256, data=data).digest()


_DOMAIN: Final = _keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_TRANSFER: Final = _keccak(
    b"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,"
    b"bytes32 nonce)"
)
