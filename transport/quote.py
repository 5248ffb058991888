"""``GET /v1/quote``: what a job costs and where to commit it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from compute_router.protocol.errors import RequestError
from compute_router.protocol.http_api import QuoteAnswer
from compute_router.protocol.jobs import JobType, Policy, resolve_tier
from compute_router.protocol.networks import Network
from compute_router.protocol.payment_offer import QUOTE_HEADER
from compute_router.protocol.pricing import price
from compute_router.protocol.sealing import SEALED_VERSION
from compute_router.protocol.units import format_usd, iso_from_unix_ms
from compute_router.transport.http_types import Answer, Request, json_answer

if TYPE_CHECKING:
    from compute_router.transport.payments.quotes import Quotes

KEYS_SUPPORTED: Final = ("Idempotency-Supported", "true")
"""Header that tells a client before its first commit that it may safely repeat one."""

SEALING_SUPPORTED: Final = ("Sealed-Payloads", SEALED_VERSION)
"""Header that tells a client before its first commit that payloads may be sealed, and in which form."""

E = TypeVar("E", bound=Enum)


class QuoteResource:
    """Prices are fixed, so a quote does not expire; where jobs are paid for it is signed, until a time."""

    def __init__(self, network: Network, quotes: Quotes | None = None) -> None:
        self._network = network
        self._quotes = quotes

    async def get(self, request: Request, variable: str) -> Answer:
        job_type = _enum(JobType, "job_type", request.required_query("job_type"))
        asked = request.query("policy")
        policy = Policy.AUTO if asked is None else _enum(Policy, "policy", asked)
        tier = resolve_tier(policy, job_type)
        signed, expires_at = self._quotes.give(tier, job_type) if self._quotes else (msgspec.UNSET, None)
        answer = json_answer(
            QuoteAnswer(
                price=format_usd(price(tier, job_type)),
                endpoint=f"/v1/jobs/commit/{tier.value.lower()}",
                policy_resolved=tier,
                network=self._network.caip2,
                expires_at=None if expires_at is None else iso_from_unix_ms(expires_at),
                signed_quote=signed,
            )
        )
        headers: tuple[tuple[str, str], ...] = (KEYS_SUPPORTED, SEALING_SUPPORTED)
        if isinstance(signed, str):
            headers = (*headers, (QUOTE_HEADER, signed))
        return Answer(answer.status, answer.body, headers)


def _enum(kind: type[E], name: str, text: str) -> E:
    try:
        return kind(text)
    except ValueError:
        choices = ", ".join(member.value for member in kind)
        raise RequestError(f"{name} must be one of {choices}.") from None
