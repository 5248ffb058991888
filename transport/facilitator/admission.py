"""For whom a facilitator spends its key's gas: who may ask, and which payments it takes."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.errors import AuthenticationError
from compute_router.protocol.networks import Chain
from compute_router.protocol.units import MicroUsd
from compute_router.transport.facilitator.bodies import PaymentError, Question

CHEAPEST_JOB: Final = MicroUsd(1_000)


class Admission:
    """What everybody may ask for, unless something is said."""

    def __init__(
        self,
        chain: Chain,
        *,
        pay_to: Iterable[str] = (),
        least: MicroUsd = CHEAPEST_JOB,
        secret: str | None = None,
    ) -> None:
        """``pay_to`` are the only ones who are paid, or everybody; smaller payments than ``least`` are not
        worth their gas; ``secret`` comes with each question of those who may ask.
        """
        self._chain = chain
        self._pay_to = frozenset(pay_to)
        self._least = least
        self._expected = None if secret is None else f"Bearer {secret}".encode()

    def check_asker(self, authorization: str) -> None:
        """Whether the header ``Authorization`` is that of somebody who may ask.

        Raises:
            AuthenticationError: it is not.
        """
        if self._expected is None:
            return
        if not hmac.compare_digest(authorization.encode("utf-8", "replace"), self._expected):
            raise AuthenticationError(
                "This facilitator answers only the coordinator that started it.",
                presented=bool(authorization),
            )

    def check_payment(self, question: Question) -> None:
        """Whether a payment is one that gas is spent for.

        Raises:
            PaymentError: it is not.
        """
        wanted = question.requirements
        if int(wanted.amount) < max(self._least, 1):
            raise PaymentError("amount_too_small", "Payments as small as this are not settled here.")
        if self._pay_to and not self._serves(wanted.pay_to):
            raise PaymentError("recipient_not_served", "Payments to this address are not settled here.")

    def _serves(self, address: str) -> bool:
        try:
            return checked_address(self._chain, address) in self._pay_to
        except AddressError:
            return False
