"""Payments on EVM chains: an EIP-3009 ``transferWithAuthorization``, as x402's scheme ``exact`` has it."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from compute_router.protocol.errors import (
    PaymentExpiredError,
    PaymentMismatchError,
    PaymentRefusedError,
    PaymentTooEarlyError,
)
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.transport.payments.authorizations import Authorization, malformed
from compute_router.transport.payments.evm_signatures import KEY_SIGNATURE_BYTES, Transfer, domain_of, signer
from compute_router.transport.payments.offers import Offered

_SHORTEST_LIFE_SECONDS: Final = 30
"""So that there is time to settle it."""

_CLOCKS_DIFFER_SECONDS: Final = 24 * 3600
"""How much longer than asked an authorization may live, because its maker's clock is its own."""

# Wallets that are contracts have longer signatures than 65 bytes.
_Signature = Annotated[str, Meta(pattern=r"\A0x([0-9a-fA-F]{2}){65,4096}\Z")]


class _Payload(msgspec.Struct, frozen=True):
    authorization: Transfer
    signature: _Signature


_PAYLOADS: Final = msgspec.json.Decoder(_Payload)


class EvmAuthorizations:
    """Reads authorizations of one asset on one EVM chain."""

    def read(self, payload: bytes, offered: Offered, amount: MicroUsd, now: UnixMs) -> Authorization:
        """See :class:`~compute_router.transport.payments.authorizations.ReadsAuthorizations`."""
        try:
            signed = _PAYLOADS.decode(payload)
        except msgspec.ValidationError as error:
            raise malformed(error) from None
        transfer = signed.authorization
        wanted = offered.requirement
        if int(transfer.value) != amount:
            raise PaymentMismatchError(f"Pay exactly {amount} units.", offered.offer)
        if transfer.to.lower() != wanted["payTo"].lower():
            raise PaymentMismatchError("The authorization pays somebody else.", offered.offer)
        seconds = now // 1000
        if int(transfer.validAfter) > seconds:
            raise PaymentTooEarlyError("The authorization is not valid yet.", offered.offer)
        ends = int(transfer.validBefore)
        if ends < seconds + _SHORTEST_LIFE_SECONDS:
            raise PaymentExpiredError(
                f"The authorization ends in less than {_SHORTEST_LIFE_SECONDS} seconds.", offered.offer
            )
        if ends > seconds + wanted["maxTimeoutSeconds"] + _CLOCKS_DIFFER_SECONDS:
            raise PaymentMismatchError("The authorization is valid for longer than was asked.", offered.offer)
        payer = transfer.sender.lower()
        self._check_signature(signed, payer, offered)
        return Authorization(
            # Hex digits have two cases, and an authorization has one id.
            payment_id=f"{wanted['network']}/{wanted['asset'].lower()}/{payer}/{transfer.nonce.lower()}",
            payer=payer,
            expires_at=UnixMs(ends * 1000),
            payload=msgspec.json.encode(signed),
        )

    def _check_signature(self, signed: _Payload, payer: str, offered: Offered) -> None:
        """Refuse what no key of the payer signed, before anybody is asked. A contract's is for its chain."""
        signature = bytes.fromhex(signed.signature[2:])
        if len(signature) != KEY_SIGNATURE_BYTES:
            return
        wanted = offered.requirement
        extra = wanted["extra"]
        domain = domain_of(extra["name"], extra["version"], wanted["network"], wanted["asset"])
        if signer(signed.authorization, domain, signature) != payer:
            raise PaymentRefusedError("The payer's signature does not fit the authorization.", offered.offer)
