"""Which transactions a coordinator on Solana takes as payment: they pay from what it looks at, and cost the
one who pays the fee no more than a payment has to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from compute_router.protocol.networks import Chain
from compute_router.transport.payments.fee_payer_rules import MOST_PRIORITY_LAMPORTS
from compute_router.transport.payments.solana_programs import COMPUTE_BUDGET, LIGHTHOUSE, MEMO
from tests.fakes.signed_payments import v2_headers
from tests.transport.payments.till import Paid, paid, told

MISMATCH = (402, "payment_mismatch")
NOBODY = Keypair().pubkey()


async def answer(till: Paid, **changes: Any) -> tuple[int, str]:
    wanted = await till.wanted()
    said = await till.post(v2_headers(wanted, till.seeker.sign(wanted, **changes)))
    return (201, "") if said.status_code == 201 else told(said)


def lighthouse(kind: int, *accounts: AccountMeta) -> Instruction:
    return Instruction(LIGHTHOUSE, bytes([kind, 0, 0]), list(accounts))


async def test_a_payment_comes_from_the_account_whose_balance_is_looked_at(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        assert await answer(till, source=Keypair().pubkey()) == MISMATCH
        assert till.facilitator.count("/verify") == 0
        assert await answer(till) == (201, "")


@pytest.mark.parametrize("accounts", [[(True, True)], [(False, True)], [(False, False)]], ids=str)
async def test_the_account_that_pays_the_fee_is_in_no_instruction(
    tmp_path: Path, accounts: list[tuple[bool, bool]]
) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        fee_payer = Pubkey.from_string((await till.wanted())["extra"]["feePayer"])
        metas = [AccountMeta(fee_payer, signs, writes) for signs, writes in accounts]
        for more in (Instruction(MEMO, b"drain", metas), lighthouse(6, *metas)):
            assert await answer(till, more=[more]) == MISMATCH
        assert till.facilitator.count("/verify") == 0


async def test_nobody_signs_but_the_payer_and_the_one_who_pays_the_fee(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        more = [Instruction(MEMO, b"m", [AccountMeta(NOBODY, is_signer=True, is_writable=False)])]
        assert await answer(till, more=more) == MISMATCH


async def test_priority_is_paid_for_up_to_a_bound(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        most = MOST_PRIORITY_LAMPORTS * 1_000_000 // 20_000
        assert await answer(till, price=most) == (201, "")
        assert await answer(till, price=most + 1) == MISMATCH
        assert await answer(till, limit=1_400_000, price=71_000) == MISMATCH
        assert await answer(till, limit=0, price=2**64 - 1) == (201, "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" + bytes(8),
        b"\x01" + bytes(4),
        b"\x04" + bytes(4),
        b"\x03" + bytes(8),
        b"\x02" + bytes(4),
        b"\x02\x01",
    ],
    ids=bytes.hex,
)
async def test_computing_is_limited_and_priced_once_and_nothing_else_is_set(
    tmp_path: Path, data: bytes
) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        assert await answer(till, more=[Instruction(COMPUTE_BUDGET, data, [])]) == MISMATCH


async def test_assertions_of_a_wallet_are_taken_and_what_writes_is_not(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        mine = AccountMeta(Pubkey.from_string(till.seeker.address), is_signer=True, is_writable=True)
        for writes in (0, 1):
            assert await answer(till, more=[lighthouse(writes, mine)]) == MISMATCH
        assert await answer(till, more=[Instruction(LIGHTHOUSE, b"", [])]) == MISMATCH
        assert await answer(till, more=[lighthouse(6, mine), lighthouse(9, mine)]) == (201, "")
