"""Seekers' own account of what they signed, what they got for it, and which credits they hold.

It knows nothing of the coordinator's books, so that those can be compared with it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from compute_router.protocol.payment_offer import PAYMENT_HEADER, REQUIRED_HEADER
from compute_router.protocol.payments import CREDIT_HEADER
from compute_router.transport.http_types import Answer
from tests.chaos.journal import Journal
from tests.chaos.money_promises import MoneyPromise

_PATIENCE = 30


class UnsignedError(Exception):
    """Nothing was signed, because the chain's node does not answer."""


class Signs(Protocol):
    """Signs an authorization for a requirement."""

    payer: str

    def sign(self, requirement: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The inner payload, and the id that the payment has by the facts of its chain.

        Raises:
            UnsignedError: it needs the chain's node, which is down.
        """


class Token(msgspec.Struct):
    """A credit that a seeker holds, and what must be left of it."""

    text: str
    left: int


class Purchase:
    """One commit: everything that was signed for it, of which one at the most may ever move money."""

    def __init__(self, purse: Purse, kind: str, token: Token | None) -> None:
        self.payer = purse.signer.payer
        self.token = token
        self.signed: list[str] = []
        self.price = purse.prices.get(kind, 0)
        self.job_id: str | None = None
        self._purse = purse
        self._kind = kind
        self._refusals = 0

    def first_headers(self) -> dict[str, str]:
        """What the commit comes with before anybody asked for money."""
        return {} if self.token is None else {CREDIT_HEADER: self.token.text}

    def paying_headers(self, answer: Answer) -> dict[str, str]:
        """What a 402 asks for.

        Raises:
            UnsignedError: it cannot be signed now.
        """
        code = msgspec.json.decode(answer.body)["error"]
        self._refusals += 1
        self._purse.journal.promise(self._refusals < _PATIENCE, f"payments are refused for ever: {code}")
        if self.token is not None:
            self._purse.journal.money(
                MoneyPromise.CREDITS,
                code != "credit_refused",
                f"a token of {self.payer} with {self.token.left + self.price} left was refused",
            )
            self.token = None
        headers = {name.lower(): value for name, value in answer.headers}
        offer = msgspec.json.decode(base64.b64decode(headers[REQUIRED_HEADER.lower()]))
        requirement = offer["accepts"][0]
        self.price = self._purse.prices[self._kind] = int(requirement["amount"])
        inner, payment_id = self._purse.signer.sign(requirement)
        self.signed.append(payment_id)
        self._purse.journal.deals["payments signed"] += 1
        payment = {"x402Version": 2, "accepted": requirement, "payload": inner}
        return {PAYMENT_HEADER: base64.b64encode(msgspec.json.encode(payment)).decode("ascii")}

    def taken(self, job_id: str) -> None:
        """The commit was answered with a job."""
        self.job_id = job_id

    def not_taken(self) -> None:
        """There is no job, and the seeker was told so."""
        if self.token is not None:
            self.token.left += self.price
            self.token = None


class Purse:
    """The money of one seeker."""

    def __init__(self, signer: Signs, journal: Journal) -> None:
        self.signer = signer
        self.journal = journal
        self.prices: dict[str, int] = {}
        self.purchases: list[Purchase] = []
        self._tokens: dict[str, Token] = {}
        self._given: dict[str, str] = {}

    def begin(self, kind: str, *, spend: bool) -> Purchase:
        """Begin a commit. ``kind`` is all that its price depends on. ``spend`` a credit, if one suffices."""
        price = self.prices.get(kind) if spend else None
        token = None if price is None else next(self._good_for(price), None)
        if token is not None and price is not None:
            token.left -= price
            self.journal.deals["credits spent"] += 1
        self.purchases.append(Purchase(self, kind, token))
        return self.purchases[-1]

    def _good_for(self, price: int) -> Iterator[Token]:
        return (token for token in self._tokens.values() if token.left >= price)

    def is_given(self, job_id: str, text: str) -> None:
        """A commit's answer names the token of the credit that its payment may become."""
        self.journal.money(
            MoneyPromise.CREDITS,
            self._given.setdefault(job_id, text) == text,
            f"job {job_id} was answered with two tokens",
        )

    def sees(self, job_id: str, payment: dict[str, Any]) -> None:
        """A job's answer tells of its payment; its worker could have asked, so it names no token."""
        self.journal.money(
            MoneyPromise.CREDITS, "credit_token" not in payment, f"job {job_id} shows its token to anybody"
        )
        text = self._given.get(job_id)
        if payment["state"] == "credited" and text is not None and text not in self._tokens:
            self._tokens[text] = Token(text, payment["amount"])

    @property
    def tokens(self) -> list[str]:
        """Every token that was ever seen."""
        return list(self._tokens)
