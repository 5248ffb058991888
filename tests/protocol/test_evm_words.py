"""Values as contracts are asked with them: 32 bytes in hex."""

from __future__ import annotations

from compute_router.protocol.evm_words import evm_word

ADDRESS = "0xABababaBAbaBaBABABAbAbAbabAbabaBabAbabab"
NONCE = "0F" * 32


def test_an_address_has_zeros_before_it() -> None:
    assert evm_word(ADDRESS) == "00" * 12 + "ab" * 20


def test_a_nonce_is_a_whole_word_in_lower_case_with_its_prefix_or_without() -> None:
    assert evm_word(NONCE) == evm_word("0x" + NONCE) == "0f" * 32
