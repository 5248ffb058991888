"""What a facilitator does on both chains alike: asks the x402 library, with our signer below it."""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

from x402 import x402FacilitatorSync
from x402.interfaces import SchemeNetworkFacilitator
from x402.schemas import PaymentPayload, PaymentRequirements

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_offer import V1_NETWORK_NAMES
from compute_router.storage.settlement_book import SentTransaction
from compute_router.transport.facilitator.attempt import current_attempt
from compute_router.transport.facilitator.bodies import Question
from compute_router.transport.facilitator.node_words import node_problem
from compute_router.transport.facilitator.settling import LibraryAnswer, Standing

logger = logging.getLogger(__name__)

_TOO_FEW: Final = 4
"""With gas for fewer settlements no payments are offered: those that were taken must still be settled."""
_FEW: Final = 100


class Signer(Protocol):
    """What is asked of a signer here; the library asks more."""

    def get_addresses(self) -> list[str]:
        """The addresses of its keys."""

    def gas_balance(self) -> int:
        """What it has to pay fees with. Raises when the node cannot be asked."""

    def settlements_within(self, gas_balance: int) -> int:
        """How many settlements so much pays for. Raises when the node cannot be asked."""

    def revive(self, transaction: SentTransaction) -> bool:
        """Send a transaction of an earlier attempt again; False when it can never land."""

    def standing(self, transaction_ref: str) -> Standing:
        """Where a transaction is that has settled a payment. Raises when the node cannot be asked."""

    def close(self) -> None:
        """Close the connections to the node."""


class LibrarySide:
    """What both chains share."""

    def __init__(self, chain: Chain, signer: Signer, scheme: SchemeNetworkFacilitator, coin: str) -> None:
        # Its lines quote payments and what nodes say of them; the facilitator writes its own.
        logging.getLogger("x402").setLevel(logging.CRITICAL)
        self.chain = chain
        self._signer = signer
        self._coin = coin
        self._warned = False
        self._library = x402FacilitatorSync()
        self._library.register([NETWORKS[chain].caip2], scheme)

    @property
    def address(self) -> str:
        """The address that pays the fees."""
        return str(self._signer.get_addresses()[0])

    def verify(self, question: Question) -> LibraryAnswer:
        """Ask the library. It may raise anything."""
        answer = self._library.verify(*_models(question))
        return LibraryAnswer(answer.is_valid, answer.payer or "", answer.invalid_reason or "invalid_payload")

    def settle(self, question: Question) -> LibraryAnswer:
        """Have the library settle. It may raise anything."""
        answer = self._library.settle(*_models(question))
        reason = current_attempt().reason or answer.error_reason or "transaction_failed"
        return LibraryAnswer(answer.success, answer.payer or "", reason, answer.transaction)

    def revive(self, transaction: SentTransaction) -> bool:
        """Send a transaction of an earlier attempt again; False when it can never land."""
        return self._signer.revive(transaction)

    def standing(self, transaction_ref: str) -> Standing:
        """Where a transaction is that has settled a payment. Raises when the node cannot be asked."""
        return self._signer.standing(transaction_ref)

    def can_sign_another(self) -> bool:
        """Whether another transaction than one that failed can carry out the same payment."""
        raise NotImplementedError

    def carried_out_by(self, question: Question, failed: str) -> str | None:
        """The transaction of somebody else that carried out this payment while ours failed."""
        raise NotImplementedError

    def settlements_within(self, gas_balance: int) -> int:
        """How many settlements so much gas pays for. Raises when the node cannot be asked."""
        return self._signer.settlements_within(gas_balance)

    def supported(self) -> dict[str, Any]:
        """The answer to ``GET /supported``: the same in versions 2 and 1, which name networks differently."""
        answer: dict[str, Any] = self._library.get_supported().model_dump(by_alias=True, exclude_none=True)
        network = V1_NETWORK_NAMES[NETWORKS[self.chain].caip2]
        old = [{**kind, "x402Version": 1, "network": network} for kind in answer["kinds"]]
        return {**answer, "kinds": [*answer["kinds"], *old]}

    def problem(self) -> str | None:
        """What keeps this facilitator from settling, in a sentence, or None."""
        try:
            funds = self._signer.gas_balance()
            enough_for = self.settlements_within(funds)
        except Exception as error:
            return node_problem(error, self.chain)
        if not funds:
            return f"{self.address} has no {self._coin} to pay fees with."
        if enough_for < _TOO_FEW:
            return (
                f"{self.address} has too little {self._coin} to pay fees with, for {enough_for} settlements."
            )
        self._warn(enough_for)
        return None

    def _warn(self, enough_for: int) -> None:
        if enough_for < _FEW and not self._warned:
            logger.warning("%s has %s for %d more settlements only", self.address, self._coin, enough_for)
        self._warned = enough_for < _FEW

    def close(self) -> None:
        """Close the connections to the node."""
        self._signer.close()


def _models(question: Question) -> tuple[Any, Any]:
    payload = PaymentPayload.model_validate(question.wrapped())
    return payload, PaymentRequirements.model_validate(question.wrapped()["accepted"])
