"""What is asked for a job: x402 requirements of both versions, built once for each price and address."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec
from x402.schemas import PaymentRequirements, ResourceInfo
from x402.schemas.v1 import PaymentRequirementsV1

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_offer import V1_NETWORK_NAMES, PaymentOffer
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import MicroUsd

SCHEME: Final = "exact"

DESCRIPTION: Final = "One job on Compute Router. It is charged when its result is there."
JSON: Final = "application/json"
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}", re.ASCII)


class Offered(msgspec.Struct, frozen=True):
    """One requirement: as an object to compare with, as its JSON, and as the offer that is sent."""

    requirement: dict[str, Any]
    requirement_json: bytes
    offer: PaymentOffer


class Offers:
    """Builds the offers of one coordinator, which takes one asset on one chain by one scheme."""

    def __init__(self, chain: Chain, pay_to: str) -> None:
        self.chain = chain
        self.pay_to = pay_to
        self.network = NETWORKS[chain].caip2
        self.facts = PAYMENT_NETWORKS[chain]
        # Prices are few; addresses of this coordinator too, but they are what a client says.
        self.offered = lru_cache(maxsize=256)(self._offered)

    def _offered(self, amount: MicroUsd, url: str, fee_payer: str | None) -> Offered:
        """The offer of one price. ``fee_payer`` pays for the transaction on Solana, None elsewhere."""
        extra = (
            {"name": self.facts.asset_name, "version": self.facts.asset_version}
            if fee_payer is None
            else {"feePayer": fee_payer}
        )
        seconds = self.facts.authorization_lives // 1000
        requirement = PaymentRequirements(
            scheme=SCHEME,
            network=self.network,
            asset=self.facts.asset,
            amount=str(amount),
            pay_to=self.pay_to,
            max_timeout_seconds=seconds,
            extra=extra,
        )
        older = PaymentRequirementsV1(
            scheme=SCHEME,
            network=V1_NETWORK_NAMES[self.network],
            max_amount_required=str(amount),
            resource=url,
            description=DESCRIPTION,
            mime_type=JSON,
            pay_to=self.pay_to,
            max_timeout_seconds=seconds,
            asset=self.facts.asset,
            extra=extra,
        )
        resource = ResourceInfo(url=url, description=DESCRIPTION, mime_type=JSON)
        shown = requirement.model_dump(by_alias=True, exclude_none=True)
        return Offered(
            requirement=shown,
            requirement_json=msgspec.json.encode(shown),
            offer=PaymentOffer(
                resource=msgspec.json.encode(resource.model_dump(by_alias=True, exclude_none=True)),
                accepts=msgspec.json.encode([shown]),
                accepts_v1=msgspec.json.encode([older.model_dump(by_alias=True, exclude_none=True)]),
            ),
        )


def resource_url(host: str | None, path: str) -> str:
    """The address of what is paid for, as the client wrote it; version 1 of x402 wants it to be whole."""
    return f"http://{host if host and _HOST.fullmatch(host) else 'localhost'}{path}"
