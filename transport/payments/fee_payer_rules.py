"""What a Solana transaction may ask of the account that pays its fee, which is not its payer's.

The fee's payer signs whatever stands in the transaction, so nothing in it may use him: he is in no
instruction, two sign it and no more (each signature costs him), and the priority he pays for is bounded.
Wallets add assertions of their own (Lighthouse), which can make a transaction fail and do nothing else; of
that program's instructions that write, and could cost rent, none is taken.
"""

from __future__ import annotations

from typing import Final

from solders.instruction import CompiledInstruction
from solders.message import Message, MessageV0

from compute_router.protocol.errors import RequestError
from compute_router.transport.payments.solana_programs import COMPUTE_BUDGET, LIGHTHOUSE

SIGNERS: Final = 2
"""The fee's payer, and the one whose tokens move."""

MOST_PRIORITY_LAMPORTS: Final = 10_000
"""As much again as the two signatures cost."""

_SET_LIMIT: Final = 2
_SET_PRICE: Final = 3
_BYTES: Final = {_SET_LIMIT: 5, _SET_PRICE: 9}
_MOST_UNITS: Final = 1_400_000
_UNITS_OF_AN_INSTRUCTION: Final = 200_000
_MICRO: Final = 1_000_000
_FIRST_ASSERTION: Final = 2
"""Of Lighthouse's instructions: those before write to memory, and close it."""


class UnfairError(RequestError):
    """A transaction asks too much of its fee's payer. ``reason`` is a code like those of x402."""

    code = "unfair_transaction"

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = f"invalid_exact_svm_payload_transaction_{reason}"


def check_fair(message: Message | MessageV0) -> None:
    """Whether a fee's payer may sign this transaction without another look.

    Raises:
        UnfairError: he may not.
    """
    if isinstance(message, MessageV0) and message.address_table_lookups:
        raise UnfairError("lookup_tables", "The transaction must have no address tables.")
    if message.header.num_required_signatures != SIGNERS:
        raise UnfairError("signers", "The payer and the fee's payer must sign, and nobody else.")
    if any(0 in bytes(one.accounts) or one.program_id_index == 0 for one in message.instructions):
        raise UnfairError("uses_fee_payer", "No instruction may use the account that pays the fee.")
    if priority_fee(message) > MOST_PRIORITY_LAMPORTS:
        raise UnfairError(
            "priority_fee_too_high",
            f"The priority fee is too high: {MOST_PRIORITY_LAMPORTS} lamports at most.",
        )
    for one in message.instructions:
        if message.account_keys[one.program_id_index] == LIGHTHOUSE:
            data = bytes(one.data)
            if not data or data[0] < _FIRST_ASSERTION:
                raise UnfairError("writes", "A wallet may add assertions, and nothing that writes.")


def priority_fee(message: Message | MessageV0) -> int:
    """Lamports that the fee's payer gives for priority: computing units times their price, rounded up.

    Raises:
        UnfairError: limit and price are not said clearly.
    """
    keys = message.account_keys
    said: dict[int, int] = {}
    others = 0
    for one in message.instructions:
        if keys[one.program_id_index] != COMPUTE_BUDGET:
            others += 1
            continue
        name, number = _budget(one)
        if name in said:
            raise UnfairError("compute_budget", "Limit and price of computing may be set once each.")
        said[name] = number
    units = min(said.get(_SET_LIMIT, others * _UNITS_OF_AN_INSTRUCTION), _MOST_UNITS)
    return -(-units * said.get(_SET_PRICE, 0) // _MICRO)


def _budget(instruction: CompiledInstruction) -> tuple[int, int]:
    data = bytes(instruction.data)
    if not data or len(data) != _BYTES.get(data[0]):
        raise UnfairError("compute_budget", "Only limit and price of computing may be set.")
    return data[0], int.from_bytes(data[1:], "little")
