"""Payments on Solana: a transaction with one ``TransferChecked``, signed by its payer and not yet by whoever
pays its fee, as x402's scheme ``exact`` has it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from compute_router.protocol.errors import PaymentMalformedError, PaymentMismatchError, PaymentRefusedError
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.transport.payments.authorizations import Authorization, malformed
from compute_router.transport.payments.fee_payer_rules import SIGNERS, UnfairError, check_fair
from compute_router.transport.payments.offers import Offered
from compute_router.transport.payments.solana_programs import (
    COMPUTE_BUDGET,
    LIGHTHOUSE,
    MEMO,
    TOKEN,
    token_account,
)

_LARGEST_TRANSACTION: Final = 1232
_TRANSFER_CHECKED: Final = 12
_TRANSFER_BYTES: Final = 10
_TRANSFER_ACCOUNTS: Final = 4

_HARMLESS: Final = (COMPUTE_BUDGET, MEMO, LIGHTHOUSE)
"""What may stand beside the transfer: limit and price of computing, a memo, a wallet's own assertions."""


class _Payload(msgspec.Struct, frozen=True):
    transaction: Annotated[str, Meta(min_length=4, max_length=2048)]


class _Transfer(msgspec.Struct, frozen=True):
    source: Pubkey
    mint: Pubkey
    destination: Pubkey
    authority: int
    amount: int


_PAYLOADS: Final = msgspec.json.Decoder(_Payload)


class SolanaAuthorizations:
    """Reads authorizations of one asset on Solana. ``lives`` is how long a blockhash is counted on."""

    def __init__(self, lives: DurationMs) -> None:
        self._lives = lives

    def read(self, payload: bytes, offered: Offered, amount: MicroUsd, now: UnixMs) -> Authorization:
        """See :class:`~compute_router.transport.payments.authorizations.ReadsAuthorizations`.

        Raises:
            PaymentRefusedError: the payer's signature is not his.
        """
        try:
            text = _PAYLOADS.decode(payload).transaction
        except msgspec.ValidationError as error:
            raise malformed(error) from None
        transaction = _transaction(text)
        message = transaction.message
        wanted = offered.requirement
        if not isinstance(message, MessageV0):
            raise PaymentMismatchError("The transaction must be of version 0.", offered.offer)
        try:
            check_fair(message)
        except UnfairError as error:
            raise PaymentMismatchError(str(error), offered.offer) from None
        transfer = _transfer(message, offered)
        keys = message.account_keys
        if str(keys[0]) != wanted["extra"]["feePayer"]:
            raise PaymentMismatchError("Another than the offered account pays the fee.", offered.offer)
        if str(transfer.mint) != wanted["asset"]:
            raise PaymentMismatchError("The transaction moves another asset.", offered.offer)
        if transfer.amount != amount:
            raise PaymentMismatchError(f"Pay exactly {amount} units.", offered.offer)
        if str(transfer.destination) != token_account(wanted["payTo"], wanted["asset"]):
            raise PaymentMismatchError("The transaction pays somebody else.", offered.offer)
        # The fee's payer signs first, and the one whose tokens move is the other one who signs.
        if transfer.authority != 1 or len(transaction.signatures) != SIGNERS:
            raise PaymentMismatchError("The payer must sign the transaction.", offered.offer)
        # What he has is looked up there. In another account of his there may be nothing.
        if str(transfer.source) != token_account(str(keys[1]), wanted["asset"]):
            raise PaymentMismatchError(
                "The transaction must pay from the payer's associated token account.", offered.offer
            )
        signed = to_bytes_versioned(message)
        payer = keys[transfer.authority]
        if not transaction.signatures[transfer.authority].verify(payer, signed):
            raise PaymentRefusedError("The payer's signature does not fit the transaction.", offered.offer)
        return Authorization(
            payment_id=f"{wanted['network']}/{hashlib.sha256(signed).hexdigest()}",
            payer=str(payer),
            expires_at=UnixMs(now + self._lives),
            payload=msgspec.json.encode({"transaction": text}),
        )


def _transaction(text: str) -> VersionedTransaction:
    try:
        raw = base64.b64decode(text, validate=True)
        if len(raw) > _LARGEST_TRANSACTION:
            raise ValueError("too large")
        transaction = VersionedTransaction.from_bytes(raw)
        if bytes(transaction) != raw:
            raise ValueError("not in its one form")
        transaction.sanitize()
    # solders has several errors of its own for bytes that are no transaction.
    except Exception:
        raise PaymentMalformedError("The payment's payload: not a transaction in base64.") from None
    return transaction


def _transfer(message: MessageV0, offered: Offered) -> _Transfer:
    """The one transfer among the instructions; everything else in a transaction must be harmless."""
    found: list[_Transfer] = []
    keys = message.account_keys
    for instruction in message.instructions:
        program = keys[instruction.program_id_index]
        if program in _HARMLESS:
            continue
        data, accounts = bytes(instruction.data), bytes(instruction.accounts)
        if (
            program != TOKEN
            or len(data) != _TRANSFER_BYTES
            or data[0] != _TRANSFER_CHECKED
            or len(accounts) != _TRANSFER_ACCOUNTS
        ):
            raise PaymentMismatchError("The transaction does more than one plain transfer.", offered.offer)
        source, mint, destination, authority = accounts
        amount = int.from_bytes(data[1:9], "little")
        found.append(_Transfer(keys[source], keys[mint], keys[destination], authority, amount))
    if len(found) != 1:
        raise PaymentMismatchError("The transaction must make one transfer.", offered.offer)
    return found[0]
