"""Reading the payment that came with a request, in either version of x402. Nothing of it is trusted."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from compute_router.protocol.errors import PaymentMalformedError, PaymentMismatchError, PaymentVersionError
from compute_router.protocol.payment_offer import PAYMENT_HEADER, PAYMENT_HEADER_V1, PaymentOffer
from compute_router.transport.complaints import complaint
from compute_router.transport.http_types import Request
from compute_router.transport.payments.offers import Offered

_VERSIONS: Final = {PAYMENT_HEADER: 2, PAYMENT_HEADER_V1: 1}
_NAMES: Final = {"asset": "asset", "payTo": "recipient", "maxTimeoutSeconds": "time limit", "extra": "extra"}


class Presented(msgspec.Struct, frozen=True):
    """A payment as it came: ``payload`` is what its scheme defines.

    ``accepted`` is the requirement that it says it meets; in version 1, which has none, the little that it
    says of it.
    """

    version: int
    accepted: dict[str, Any]
    payload: msgspec.Raw


class _Version(msgspec.Struct, frozen=True, rename={"version": "x402Version"}):
    version: int


class _V2(msgspec.Struct, frozen=True):
    accepted: dict[str, Any]
    payload: msgspec.Raw


class _V1(msgspec.Struct, frozen=True):
    scheme: str
    network: str
    payload: msgspec.Raw


_VERSION_OF: Final = msgspec.json.Decoder(_Version)
_PAYMENTS: Final = msgspec.json.Decoder(_V2)
_PAYMENTS_V1: Final = msgspec.json.Decoder(_V1)


def presented_payment(request: Request, offer: PaymentOffer) -> Presented | None:
    """The payment that came with a request; None if there is none.

    Raises:
        PaymentMalformedError: there are two, or it is not base64 JSON of a payment.
        PaymentVersionError: it is of another version of x402 than its header.
    """
    headers = [name for name in _VERSIONS if name in request.headers]
    if not headers:
        return None
    if len(headers) > 1:
        raise PaymentMalformedError("Send one payment, in one header.")
    name = headers[0]
    raw = base64_json(name, request.headers[name])
    try:
        said = _VERSION_OF.decode(raw).version
        if said != _VERSIONS[name]:
            raise PaymentVersionError(
                f"{name} is for version {_VERSIONS[name]} of x402, and the payment is of version {said}.",
                offer,
            )
        if said == 2:
            payment = _PAYMENTS.decode(raw)
            return Presented(2, payment.accepted, payment.payload)
        older = _PAYMENTS_V1.decode(raw)
        return Presented(1, {"scheme": older.scheme, "network": older.network}, older.payload)
    except msgspec.ValidationError as error:
        raise PaymentMalformedError(f"{name}: {complaint(error)}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise PaymentMalformedError(f"{name} is not the JSON of a payment.") from None


def base64_json(name: str, text: str) -> bytes:
    """The UTF-8 bytes in a header.

    Raises:
        PaymentMalformedError: it is not base64 of UTF-8.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        raw.decode("utf-8")
    except (ValueError, binascii.Error):
        raise PaymentMalformedError(f"{name} is not base64 of UTF-8 text.") from None
    return raw


def check_accepted(presented: Presented, offered: Offered, v1_network: str) -> None:
    """Whether a payment says that it meets the very requirement that is offered.

    Raises:
        PaymentMismatchError: it says another; the sentence names what differs first.
    """
    wanted = offered.requirement
    networks = (wanted["network"], v1_network) if presented.version == 1 else (wanted["network"],)
    said = presented.accepted
    if said.get("scheme") != wanted["scheme"]:
        raise PaymentMismatchError(f"Pay by the scheme {wanted['scheme']}.", offered.offer)
    if said.get("network") not in networks:
        raise PaymentMismatchError(f"Pay on the network {wanted['network']}.", offered.offer)
    if presented.version == 1 or said == wanted:
        return
    if said.get("amount") != wanted["amount"]:
        raise PaymentMismatchError(f"Pay exactly {wanted['amount']} units.", offered.offer)
    for field, name in _NAMES.items():
        if said.get(field) != wanted[field]:
            raise PaymentMismatchError(f"The payment accepts another {name} than was offered.", offered.offer)
    raise PaymentMismatchError("The payment accepts more than was offered.", offered.offer)


def v2_payment(payload: bytes, offered: Offered) -> bytes:
    """A payment of either version as one of version 2, with what was checked and nothing else."""
    payment = {
        "x402Version": 2,
        "resource": msgspec.Raw(offered.offer.resource),
        "accepted": msgspec.Raw(offered.requirement_json),
        "payload": msgspec.Raw(payload),
    }
    return msgspec.json.encode(payment)
