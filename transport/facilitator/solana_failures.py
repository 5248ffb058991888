"""Why a transaction fails in its trial on Solana: is it our fault, the payer's, or nobody's?"""

from __future__ import annotations

from typing import Any, Final

from solders.message import Message, MessageV0

from compute_router.protocol.payments import PAYER_PREVENTS
from compute_router.transport.payments.solana_programs import LIGHTHOUSE, TOKEN, TOKEN_2022

_OF_OUR_KEY: Final = frozenset(
    {"AccountNotFound", "InsufficientFundsForFee", "InsufficientFundsForRent", "InvalidAccountForFee"}
)
"""The fee payer is the only one who pays lamports in a payment."""
_OF_THE_NODE: Final = frozenset(
    {"AccountInUse", "ClusterMaintenance", "ProgramCacheHitMaxLimit", "TooManyAccountLocks"}
)
_CODES: Final = {"BlockhashNotFound": "blockhash_not_found", "AlreadyProcessed": "duplicate_settlement"}
_TOO_LITTLE_MONEY: Final = 1
_OTHER_OWNER: Final = 4
"""Errors of the token program; all others may be about the account that is paid to."""


def trouble(failure: Any) -> str | None:
    """What keeps us from sending anything at the moment; None if it is about this transaction."""
    name = _name(failure)
    if name in _OF_OUR_KEY:
        return "the facilitator's key has too little SOL"
    return "the node cannot run transactions now" if name in _OF_THE_NODE else None


def code(failure: Any, message: Message | MessageV0) -> str | None:
    """The code that says more than that a trial failed; None when there is no more to say.

    ``failure`` is ``err`` of ``simulateTransaction``. The payer's fault is what only he could change since he
    signed: too little money in his account, another owner of it, an assertion that he added himself.
    """
    name = _name(failure)
    if name != "InstructionError":
        return _CODES.get(name)
    try:
        index, error = failure["InstructionError"]
        program = message.account_keys[message.instructions[index].program_id_index]
    except (LookupError, TypeError, ValueError):
        return None
    if program == LIGHTHOUSE:
        return PAYER_PREVENTS
    number = error.get("Custom") if isinstance(error, dict) else None
    if program in (TOKEN, TOKEN_2022) and number in (_TOO_LITTLE_MONEY, _OTHER_OWNER):
        return PAYER_PREVENTS
    return None


def _name(failure: Any) -> str:
    if isinstance(failure, dict) and len(failure) == 1:
        return str(next(iter(failure)))
    return failure if isinstance(failure, str) else ""
