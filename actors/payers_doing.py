"""Whose doing it is that a settlement was refused: a debt is made of what can be shown, not of what is said.

A facilitator may err, be out of gas, or lie; then the loss is the operator's. The payer owes it when he has
less than he promised at that time, by the chain, or when our own facilitator saw him prevent the settlement.
"""

from __future__ import annotations

from typing import Final

from compute_router.protocol.payments import PAYERS_DOING, Refused, Unknown
from compute_router.protocol.units import MicroUsd

_NO_MONEY: Final = frozenset({"insufficient_funds", "invalid_exact_evm_insufficient_balance"})
_NOT_REFUSED: Final = frozenset(
    {
        "answer_does_not_fit",
        "blockhash_not_found",
        "duplicate_settlement",
        "invalid_exact_evm_nonce_already_used",
        "invalid_exact_evm_payload_authorization_valid_before",
        "settlement_pending",
    }
)
"""After these a low balance shows nothing: the money may be on its way, or the authorization was too old."""


def is_worth_a_look(answer: object) -> bool:
    """Whether what a payer has should be read now, to see if he is why the answer is no."""
    return _code(answer) not in _NOT_REFUSED | {None}


def payers_doing(
    answer: Refused | Unknown, amount: MicroUsd, has: MicroUsd | None, *, facilitator_is_own: bool
) -> str | None:
    """The reason for a debt, one of ``PAYERS_DOING``; None when this answer is no ground for one.

    ``has`` is what the payer had right after it. None means that the chain could not be read; then the word
    of any facilitator counts that there is too little.
    """
    code = _code(answer)
    if code is None or code in _NOT_REFUSED:
        return None
    if facilitator_is_own and code in PAYERS_DOING:
        return code
    if has is None:
        return code if code in _NO_MONEY else None
    return "insufficient_funds" if has < amount else None


def told_reason(reason: str) -> str:
    """A facilitator's word as it may be kept where it is no ground for a debt."""
    return "refused" if reason in PAYERS_DOING else reason


def _code(answer: object) -> str | None:
    if isinstance(answer, Refused):
        return answer.reason
    return answer.code if isinstance(answer, Unknown) else None
