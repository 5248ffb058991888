from __future__ import annotations

import hashlib

import pytest
from eth_utils.crypto import keccak

from compute_router.protocol.chain_addresses import (
    AddressError,
    base58_bytes,
    checked_address,
    evm_checksum,
    keccak_256,
)
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS

# From EIP-55.
CHECKSUMMED = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        (
            b"Transfer(address,address,uint256)",
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        ),
    ],
)
def test_keccak_is_the_one_of_ethereum(data: bytes, digest: str) -> None:
    assert keccak_256(data).hex() == digest
    assert keccak_256(data) != hashlib.sha3_256(data).digest()


@pytest.mark.parametrize("length", [1, 135, 136, 137, 272, 500])
def test_keccak_agrees_with_another_implementation_around_its_blocks(length: int) -> None:
    assert keccak_256(b"x" * length) == keccak(b"x" * length)


@pytest.mark.parametrize("address", CHECKSUMMED)
def test_an_evm_address_gets_its_checksum(address: str) -> None:
    assert evm_checksum(address.lower()) == address
    for given in (address, address.lower(), "0x" + address[2:].upper()):
        assert checked_address(Chain.MONAD, given) == address


def test_one_wrong_capital_is_told() -> None:
    address = CHECKSUMMED[2]
    with pytest.raises(AddressError, match="mistyped"):
        checked_address(Chain.MONAD, address[:-1] + "D")


@pytest.mark.parametrize("chain", list(Chain))
def test_the_assets_of_the_networks_are_addresses_in_their_one_form(chain: Chain) -> None:
    asset = PAYMENT_NETWORKS[chain].asset
    assert checked_address(chain, asset) == asset


@pytest.mark.parametrize(
    ("chain", "text", "said"),
    [
        (Chain.MONAD, "", "not an address"),
        (Chain.MONAD, "0x", "not an address"),
        (Chain.MONAD, "52908400098527886E0F7030069857D2E4169EE7", "not an address"),
        (Chain.MONAD, CHECKSUMMED[0] + "0", "not an address"),
        (Chain.MONAD, CHECKSUMMED[0] + "\n", "not an address"),
        (Chain.MONAD, "0x" + "0" * 40, "zero address"),
        (Chain.MONAD, PAYMENT_NETWORKS[Chain.SOLANA].asset, "address on Solana"),
        (Chain.SOLANA, "", "not an address"),
        (Chain.SOLANA, "0OIl" * 11, "not an address"),
        (Chain.SOLANA, "1" * 31, "not an address"),
        (Chain.SOLANA, "z" * 44, "not an address"),
        (Chain.SOLANA, "\u0661" * 44, "not an address"),
        (Chain.SOLANA, "2" * 5000, "not an address"),
        (Chain.SOLANA, "1" * 32, "zero address"),
        (Chain.SOLANA, CHECKSUMMED[0], "EVM address"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(chain: Chain, text: str, said: str) -> None:
    with pytest.raises(AddressError, match=said) as raised:
        checked_address(chain, text)
    assert len(str(raised.value)) < 200


def test_base58_keeps_zeros_in_front() -> None:
    assert base58_bytes("1" * 32) == bytes(32)
    assert base58_bytes("112") == b"\x00\x00\x01"


@pytest.mark.parametrize("key", ["ab" * 32, "0x" + "ab" * 32, "4" * 88])
@pytest.mark.parametrize("chain", list(Chain))
def test_a_private_key_in_place_of_an_address_is_not_repeated(chain: Chain, key: str) -> None:
    with pytest.raises(AddressError, match="looks like a private key is not an address") as refused:
        checked_address(chain, key)
    assert key not in str(refused.value)
