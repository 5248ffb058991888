"""The programs of Solana that payments are made of, the same on every cluster, and where they keep tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from solders.pubkey import Pubkey

TOKEN: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
"""Gives each owner one account for each kind of token."""

SYSTEM: Final = Pubkey.from_string("11111111111111111111111111111111")
MEMO: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
COMPUTE_BUDGET: Final = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
LIGHTHOUSE: Final = Pubkey.from_string("L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95")
"""Assertions that wallets add."""


@lru_cache(maxsize=1024)
def token_account(owner: str, mint: str) -> str:
    """The account that holds an owner's tokens of one kind."""
    seeds = [bytes(Pubkey.from_string(owner)), bytes(TOKEN), bytes(Pubkey.from_string(mint))]
    return str(Pubkey.find_program_address(seeds, ASSOCIATED_TOKEN)[0])
