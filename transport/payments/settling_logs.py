"""Which transfer of an EVM transaction is the one that an authorization (EIP-3009) made.

One transaction may carry out several authorizations, and whoever signs them may sign one nonce again for
something else. So no transfer counts for a nonce but the one that its own use made, which is the very next
log. A token notes each nonce's use once, hence one log settles one payment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from compute_router.protocol.evm_words import evm_word

AUTHORIZATION_USED: Final = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def carries_out(
    logs: Sequence[Mapping[str, Any]], asset: str, payer: str, nonce: str, pay_to: str, amount: int
) -> bool:
    """Whether a transaction with these logs moved so much from the payer to the recipient by this nonce.

    Addresses, topics and data are hex text or bytes, indexes hex text or numbers.

    Raises:
        LookupError: these logs say nothing of the nonce's use.
        TypeError, ValueError: they are no logs of a node.
    """
    used = [AUTHORIZATION_USED, _topic(payer), _topic(nonce)]
    moved = [TRANSFER, _topic(payer), _topic(pay_to)]
    of_token = {_number(log["logIndex"]): log for log in logs if _text(log["address"]) == asset.lower()}
    for index, log in of_token.items():
        if [_text(topic) for topic in log["topics"]] != used:
            continue
        following = of_token.get(index + 1)
        return (
            following is not None
            and [_text(topic) for topic in following["topics"]] == moved
            and _number(following["data"]) == amount
        )
    raise LookupError("the nonce was not used in this transaction")


def _text(value: Any) -> str:
    return ("0x" + bytes(value).hex() if isinstance(value, bytes) else str(value)).lower()


def _number(value: Any) -> int:
    return value if isinstance(value, int) else int(_text(value), 16)


def _topic(value: str) -> str:
    return "0x" + evm_word(value)
