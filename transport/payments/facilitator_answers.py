"""What the answers of a facilitator mean. It may be wrong, or lie: we compare it with what we know."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from x402.schemas import SettleResponse, SupportedResponse, VerifyResponse

from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import Payment, Refused, Settled, Unknown, Verified

Model = TypeVar("Model", bound=BaseModel)

_CODE: Final = re.compile(r"[a-zA-Z0-9_:.-]{1,100}", re.ASCII)
_SENTENCE: Final = re.compile(r"[a-zA-Z0-9 .,:()'_-]{0,199}\.", re.ASCII)
_TRANSACTIONS: Final = {
    Chain.MONAD: re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII),
    Chain.SOLANA: re.compile(r"[1-9A-HJ-NP-Za-km-z]{64,88}", re.ASCII),
}


_DOES_NOT_FIT: Final = "answer_does_not_fit"
_NOT_SENT: Final = "transaction_not_sent"


class _Complaint(BaseModel):
    message: str


# After these the money has not moved, and this authorization will not move it. After all others it may have.
_FINAL: Final = frozenset(
    {
        "insufficient_funds",
        "invalid_network",
        "invalid_payload",
        "invalid_payment",
        "invalid_payment_requirements",
        "invalid_scheme",
        "invalid_x402_version",
        "network_mismatch",
        "unsupported_scheme",
        "invalid_exact_evm_insufficient_balance",
        "invalid_exact_evm_payload_authorization_value",
        "invalid_exact_evm_payload_authorization_value_mismatch",
        "invalid_exact_evm_payload_recipient_mismatch",
        "invalid_exact_evm_payload_signature",
        "invalid_exact_evm_token_name_mismatch",
        "invalid_exact_evm_token_version_mismatch",
        "fee_payer_not_managed_by_facilitator",
        "invalid_exact_svm_payload",
        "invalid_exact_svm_payload_amount_insufficient",
        "invalid_exact_svm_payload_mint_mismatch",
        "invalid_exact_svm_payload_missing_fee_payer",
        "invalid_exact_svm_payload_no_transfer_instruction",
        "invalid_exact_svm_payload_recipient_mismatch",
        "invalid_exact_svm_payload_transaction_could_not_be_decoded",
        "invalid_exact_svm_payload_transaction_fee_payer_transferring_funds",
        "invalid_exact_svm_payload_transaction_instructions_length",
    }
)


def verified(body: bytes) -> Verified | Refused | None:
    """What ``/verify`` says; None if it cannot be read. ``payer`` is empty when it names none."""
    answer = _read(VerifyResponse, body)
    if answer is None:
        return None
    if answer.is_valid:
        return Verified(answer.payer or "")
    return Refused(shown_code(answer.invalid_reason))


def settled(body: bytes, payment: Payment, chain: Chain) -> Settled | Refused | Unknown:
    """What ``/settle`` says of a payment. Success is believed only if it fits what was asked for.

    What is Unknown has a code if this is an answer of x402 at all.
    """
    answer = _read(SettleResponse, body)
    if answer is None:
        return Unknown("the facilitator's answer cannot be read")
    code = shown_code(answer.error_reason)
    if not answer.success:
        if code == "transaction_failed" and not answer.transaction:
            # None was sent, so it is the facilitator that failed.
            code = _NOT_SENT
        return Refused(code) if code in _FINAL and not answer.transaction else Unknown(code, code)
    if not _TRANSACTIONS[chain].fullmatch(answer.transaction):
        return Unknown("the facilitator names no transaction", _DOES_NOT_FIT)
    if answer.network != payment.network:
        return Unknown("the facilitator settled on another network", _DOES_NOT_FIT)
    if answer.amount not in (None, "", str(payment.amount)):
        return Unknown("the facilitator settled another amount", _DOES_NOT_FIT)
    if answer.payer and not same_payer(answer.payer, payment.payer):
        return Unknown("the facilitator settled for another payer", _DOES_NOT_FIT)
    return Settled(answer.transaction)


def fee_payer(body: bytes, network: str, known: str | None) -> str | None:
    """Who pays the fees of transactions, by what ``/supported`` says of a network; empty: not needed there.

    None: the network or the scheme ``exact`` of x402 v2 is not supported, or the answer cannot be read. A
    facilitator with several fee payers names any of them; one that is ``known`` stays while it is among them.
    """
    answer = _read(SupportedResponse, body, strict=False)
    if answer is None:
        return None
    signers = {signer for each in answer.signers.values() for signer in each}
    for kind in answer.kinds:
        if (kind.x402_version, kind.scheme, kind.network) == (2, "exact", network):
            named = (kind.extra or {}).get("feePayer", "")
            if not isinstance(named, str):
                return None
            return known if known and known in signers else named
    return None


def own_words(body: bytes) -> str | None:
    """The sentence in which a facilitator says what is wrong with it, if it is one that may be shown."""
    answer = _read(_Complaint, body)
    return answer.message if answer is not None and _SENTENCE.fullmatch(answer.message) else None


def same_payer(one: str, other: str) -> bool:
    """Whether two texts name one account. Only hex digits have two cases."""
    return one == other or (other.startswith("0x") and one.lower() == other.lower())


def shown_code(text: str | None) -> str:
    """A reason as it may be stored and shown: a facilitator's own word only if that is a plain code."""
    return text if text and _CODE.fullmatch(text) else "refused"


def _read(kind: type[Model], body: bytes, *, strict: bool = True) -> Model | None:
    try:
        return kind.model_validate_json(body, strict=strict)
    except (ValidationError, ValueError, RecursionError):
        return None
