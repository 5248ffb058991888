"""What a 402 asks for, and whether it is a payment that a client may sign at all.

Whoever answers for the coordinator chooses every word of an offer, so nothing is signed but a plain transfer
of USDC on the coordinator's own chain, on terms that this network has.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_offer import PAYMENT_HEADER, REQUIRED_HEADER
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.errors import UnacceptableOfferError, UnexpectedAnswerError
from compute_router.sdk.steps import Answered

_VERSION: Final = 2
_SCHEME: Final = "exact"
_LONGEST_HEADER: Final = 16_384
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,14}", re.ASCII)
_KEYS: Final = frozenset({"scheme", "network", "asset", "amount", "payTo", "maxTimeoutSeconds", "extra"})


class Offer(msgspec.Struct, frozen=True):
    """One requirement, exactly as it was offered, and what it means."""

    requirement: dict[str, Any]
    resource: msgspec.Raw
    chain: Chain
    amount: MicroUsd
    pay_to: str

    @property
    def lives_s(self) -> int:
        """How many seconds an authorization of it is valid."""
        return int(self.requirement["maxTimeoutSeconds"])


class _Required(msgspec.Struct, frozen=True, rename={"version": "x402Version"}):
    version: int
    accepts: list[dict[str, Any]]
    resource: msgspec.Raw = msgspec.Raw(b"null")


_REQUIRED: Final = msgspec.json.Decoder(_Required)


def asks_for_payment(answer: Answered) -> bool:
    """Whether an answer says, in version 2 of x402, how to pay."""
    return answer.status == 402 and REQUIRED_HEADER.lower() in answer.headers


def read_offer(answer: Answered, network: str) -> Offer:
    """The first requirement of a 402 that may be signed. ``network`` is the one that the quote named.

    Raises:
        UnexpectedAnswerError: the header cannot be read.
        UnacceptableOfferError: there is no such requirement; the sentence says what is wrong with the first.
    """
    text = answer.headers[REQUIRED_HEADER.lower()]
    try:
        if len(text) > _LONGEST_HEADER:
            raise ValueError("too long")
        required = _REQUIRED.decode(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise UnexpectedAnswerError(f"The coordinator's {REQUIRED_HEADER} cannot be read.") from None
    if required.version != _VERSION:
        raise UnexpectedAnswerError(f"{REQUIRED_HEADER} is not of version {_VERSION} of x402.")
    problem: UnacceptableOfferError | None = None
    for requirement in required.accepts:
        try:
            return _checked(requirement, required.resource, network)
        except UnacceptableOfferError as error:
            problem = problem or error
    raise problem or _bad("nothing at all")


def payment_header(offer: Offer, payload: dict[str, Any]) -> tuple[str, str]:
    """The header of a signed payment."""
    payment = {"x402Version": _VERSION, "accepted": offer.requirement, "payload": payload}
    if bytes(offer.resource) != b"null":
        payment["resource"] = offer.resource
    return PAYMENT_HEADER, base64.b64encode(msgspec.json.encode(payment)).decode("ascii")


def _checked(requirement: dict[str, Any], resource: msgspec.Raw, network: str) -> Offer:
    if requirement.get("scheme") != _SCHEME:
        raise _bad(f"a payment by another scheme than {_SCHEME}")
    chain = next((each for each, facts in NETWORKS.items() if facts.caip2 == network), None)
    if chain is None or requirement.get("network") != network:
        raise _bad(f"money on another network than its own, {network}")
    facts = PAYMENT_NETWORKS[chain]
    asset, wanted = requirement.get("asset"), facts.asset
    if asset != wanted and not (
        chain is Chain.MONAD and isinstance(asset, str) and asset.lower() == wanted.lower()
    ):
        raise _bad(f"another asset than {facts.asset_name} on {NETWORKS[chain].label}")
    amount = requirement.get("amount")
    if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
        raise _bad("an amount that is none")
    pay_to = _address(chain, requirement.get("payTo"), "money for an address that is none")
    seconds = requirement.get("maxTimeoutSeconds")
    if type(seconds) is not int or not 0 < seconds <= facts.authorization_lives // 1000:
        raise _bad("an authorization that lives for longer than jobs take")
    _check_extra(chain, requirement.get("extra"))
    if requirement.keys() != _KEYS:
        raise _bad("more than a plain transfer")
    return Offer(requirement, resource, chain, MicroUsd(int(amount)), pay_to)


def _check_extra(chain: Chain, extra: Any) -> None:
    """Nothing else is let through: in ``extra`` x402 can ask for approvals, memos and other ways to pay."""
    if chain is Chain.MONAD:
        facts = PAYMENT_NETWORKS[chain]
        if extra != {"name": facts.asset_name, "version": facts.asset_version}:
            raise _bad("a signature for another contract than USDC, or more than a plain transfer")
    elif not isinstance(extra, dict) or extra.keys() != {"feePayer"}:
        raise _bad("more than a plain transfer")
    else:
        _address(chain, extra["feePayer"], "a fee from an account that is none")


def _address(chain: Chain, text: Any, problem: str) -> str:
    try:
        return checked_address(chain, text)
    except (AddressError, TypeError):
        raise _bad(problem) from None


def _bad(what: str) -> UnacceptableOfferError:
    return UnacceptableOfferError(f"The coordinator asks for {what}. Nothing was signed.")
