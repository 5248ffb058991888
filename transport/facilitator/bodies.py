"""What is posted to a facilitator, read with suspicion: x402 v2, and v1 wrapped as v2."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from typing import Any, Final

import msgspec

from compute_router.protocol.errors import RequestError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_offer import V1_NETWORK_NAMES
from compute_router.protocol.payments import PAYMENT_NETWORKS

_LONGEST_TRANSACTION: Final = 1232
"""The most bytes that a Solana transaction can have."""

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_NONCE: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_SIGNATURE: Final = re.compile(r"0x(?:[0-9a-fA-F]{2}){1,2048}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,78}", re.ASCII)
_AUTHORIZATION: Final = {
    "from": _ADDRESS,
    "to": _ADDRESS,
    "value": _NUMBER,
    "validAfter": _NUMBER,
    "validBefore": _NUMBER,
    "nonce": _NONCE,
}


class BodyError(RequestError):
    """The body is not a question to a facilitator."""

    code = "invalid_body"


class PaymentError(RequestError):
    """The payment in the body can never be settled here. ``reason`` is a code of x402 or of its kind."""

    code = "invalid_payment"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Requirements(msgspec.Struct, frozen=True, rename="camel"):
    """What must be paid (x402 v2)."""

    scheme: str
    network: str
    asset: str
    amount: str
    pay_to: str
    max_timeout_seconds: int
    extra: dict[str, Any] = {}


class _RequirementsV1(msgspec.Struct, frozen=True, rename="camel"):
    scheme: str
    network: str
    asset: str
    max_amount_required: str
    pay_to: str
    max_timeout_seconds: int
    extra: dict[str, Any] | None = None


class _Payload(msgspec.Struct, frozen=True, rename="camel"):
    x402_version: int
    payload: dict[str, Any]
    accepted: Requirements


class _PayloadV1(msgspec.Struct, frozen=True, rename="camel"):
    x402_version: int
    scheme: str
    network: str
    payload: dict[str, Any]


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    payment_payload: msgspec.Raw
    payment_requirements: msgspec.Raw
    x402_version: int | None = None


class Question(msgspec.Struct, frozen=True):
    """A payment as v2, and its key: the same payment always has the same one, whatever wraps it.

    ``network`` is as the asker named it, ``payer`` the one who pays if the payment is good.
    """

    key: str
    payer: str
    network: str
    payload: dict[str, Any]
    requirements: Requirements

    def wrapped(self) -> dict[str, Any]:
        """The payment as the x402 library reads it."""
        return {"x402Version": 2, "payload": self.payload, "accepted": msgspec.to_builtins(self.requirements)}


def read_question(body: bytes, chain: Chain) -> Question:
    """The payment that a body asks about.

    Raises:
        BodyError: it is no JSON, or lacks what every body has.
        PaymentError: it is, and its payment is malformed, or is not for this chain and its asset.
    """
    try:
        outer = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BodyError("The body must be JSON with paymentPayload and paymentRequirements.") from None
    try:
        network, payload, accepted, requirements = _versions(outer, chain)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise PaymentError("invalid_payload", "The payment or its requirements are malformed.") from None
    if requirements.scheme != "exact" or accepted.scheme != "exact":
        raise PaymentError("unsupported_scheme", "Only the scheme exact is served.")
    if requirements.network != NETWORKS[chain].caip2 or accepted.network != requirements.network:
        raise PaymentError("invalid_network", "This facilitator serves another network.")
    if requirements.asset.lower() != PAYMENT_NETWORKS[chain].asset.lower():
        raise PaymentError("invalid_asset", "This facilitator moves another asset.")
    if not _NUMBER.fullmatch(requirements.amount):
        raise PaymentError("invalid_payment_requirements", "The amount must be a whole number.")
    agreed = (requirements.amount, requirements.asset, requirements.pay_to)
    if (accepted.amount, accepted.asset, accepted.pay_to) != agreed:
        raise PaymentError("invalid_payment_requirements", "The payment accepts other requirements.")
    payer, identity = _evm_identity(payload) if chain is Chain.MONAD else _solana_identity(payload)
    key = sha256("\n".join([requirements.network, *agreed, *identity]).encode("utf-8", "replace")).hexdigest()
    return Question(key, payer, network, payload, requirements)


def _versions(outer: _Body, chain: Chain) -> tuple[str, dict[str, Any], Requirements, Requirements]:
    version = msgspec.json.decode(outer.payment_payload, type=_Version).x402_version
    if outer.x402_version not in (None, version):
        raise PaymentError("invalid_x402_version", "The payment and the body are of different versions.")
    if version == 2:
        payload = msgspec.json.decode(outer.payment_payload, type=_Payload)
        requirements = msgspec.json.decode(outer.payment_requirements, type=Requirements)
        return requirements.network, payload.payload, payload.accepted, requirements
    if version == 1:
        old = msgspec.json.decode(outer.payment_payload, type=_PayloadV1)
        wanted = msgspec.json.decode(outer.payment_requirements, type=_RequirementsV1)
        caip2 = NETWORKS[chain].caip2
        names = {V1_NETWORK_NAMES[caip2]: caip2}
        requirements = Requirements(
            wanted.scheme,
            names.get(wanted.network, wanted.network),
            wanted.asset,
            wanted.max_amount_required,
            wanted.pay_to,
            wanted.max_timeout_seconds,
            wanted.extra or {},
        )
        accepted = msgspec.structs.replace(
            requirements, scheme=old.scheme, network=names.get(old.network, old.network)
        )
        return wanted.network, old.payload, accepted, requirements
    raise PaymentError("invalid_x402_version", "Only versions 1 and 2 of x402 are served.")


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    x402_version: int


def _evm_identity(payload: dict[str, Any]) -> tuple[str, list[str]]:
    authorization, signature = payload.get("authorization"), payload.get("signature")
    if not isinstance(authorization, dict):
        raise PaymentError("invalid_payload", "Only transfers with an authorization (EIP-3009) are served.")
    for name, form in _AUTHORIZATION.items():
        text = authorization.get(name)
        if not isinstance(text, str) or not form.fullmatch(text):
            raise PaymentError("invalid_payload", f"The authorization's {name} is malformed.")
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise PaymentError("invalid_payload", "The signature is malformed.")
    identity = [*(authorization[name].lower() for name in _AUTHORIZATION), signature.lower()]
    return authorization["from"].lower(), identity


def _solana_identity(payload: dict[str, Any]) -> tuple[str, list[str]]:
    # Imported here: a facilitator of another chain reads no such transactions.
    from solders.transaction import VersionedTransaction

    from compute_router.transport.payments.fee_payer_rules import UnfairError, check_fair

    text = payload.get("transaction")
    try:
        if not isinstance(text, str):
            raise ValueError
        raw = base64.b64decode(text, validate=True)
        if len(raw) > _LONGEST_TRANSACTION:
            raise ValueError
        transaction = VersionedTransaction.from_bytes(raw)
        transaction.sanitize()
        message = bytes(transaction.message)
        # The facilitator writes the first signature itself, so what stands there names no payment.
        others = [bytes(signature) for signature in transaction.signatures[1:]]
        check_fair(transaction.message)
        payer = str(transaction.message.account_keys[1])
    except UnfairError as error:
        raise PaymentError(error.reason, str(error)) from None
    # solders has several errors of its own for bytes that are no transaction.
    except Exception:
        raise PaymentError("invalid_payload", "The transaction is malformed.") from None
    return payer, [message.hex(), *(signature.hex() for signature in others)]
