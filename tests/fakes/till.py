"""What makes the fake coordinator one that is paid. It looks at every payment as the real one does.

Signatures are checked for real; there is no chain, so nobody is charged: what was taken is written down.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from eth_account import Account
from solders.keypair import Keypair

from compute_router.protocol.chain_addresses import evm_checksum
from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import CREDIT_HEADER
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.transport.payments.evm_authorizations import EvmAuthorizations
from compute_router.transport.payments.offers import Offered, Offers
from compute_router.transport.payments.solana_authorizations import SolanaAuthorizations
from tests.fakes.http_coordinator import JOB_ID, Answer, Asked, Headed, job_answer, refused
from tests.fakes.signed_payments import as_header, evm_message

PAY_TO: Final = {
    Chain.MONAD: evm_checksum("0x" + "ab" * 20),
    Chain.SOLANA: "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM",
}
FEE_PAYER: Final = str(Keypair.from_seed(bytes([7] * 32)).pubkey())
PRICE: Final = 1000
SIGNED_QUOTE: Final = "the.quote"
TOKEN: Final = "crc_" + "A" * 43
OTHER_TOKEN: Final = "crc_" + "B" * 43

Requirement = dict[str, Any]


@dataclass
class FakeTill:
    """Takes payments of ``price``. ``offer`` changes what is asked for, ``refuse`` says no to good payments.

    ``quoted``: its quotes are signed. ``credits`` are the tokens that are good, and what is left of each.
    ``gives`` is the token in the answer to every commit that is paid for.
    """

    chain: Chain
    price: int = PRICE
    offer: Callable[[Requirement], Requirement | list[Requirement]] = lambda wanted: wanted
    refuse: str | None = None
    credits: dict[str, int] = field(default_factory=dict)
    pay_to: str | None = None
    quoted: bool = True
    gives: object = TOKEN
    payments: list[dict[str, Any]] = field(default_factory=list)
    """The inner payload of every payment that was good, as often as it came."""

    payers: list[str] = field(default_factory=list)

    @property
    def signatures(self) -> int:
        """How many different payments came."""
        return len({json.dumps(payment, sort_keys=True) for payment in self.payments})

    @property
    def offered(self) -> Offered:
        offers = Offers(self.chain, self.pay_to or PAY_TO[self.chain])
        fee_payer = FEE_PAYER if self.chain is Chain.SOLANA else None
        return offers.offered(MicroUsd(self.price), "http://here/v1/jobs/commit/cheap", fee_payer)

    def signed_quote(self, quote: bytes) -> bytes:
        """A quote as a coordinator gives it where jobs are paid for."""
        return (
            json.dumps(json.loads(quote) | {"signed_quote": SIGNED_QUOTE}).encode() if self.quoted else quote
        )

    def look_at(self, asked: Asked) -> Headed | None:
        """The refusal of a commit; None if it is paid for."""
        quote = SIGNED_QUOTE if self.quoted else None
        assert asked.headers.get("payment-quote") == quote, "the quote is held against the price"
        token, payment = asked.headers.get(CREDIT_HEADER.lower()), asked.headers.get("payment-signature")
        assert token is None or payment is None, "one thing pays"
        if token is not None:
            return self._take_credit(token)
        if payment is None:
            return self._402("payment_required")
        try:
            self._check(json.loads(base64.b64decode(payment)))
        except ComputeRouterError as error:
            return self._402(error.code)
        return self._402(self.refuse) if self.refuse is not None else None

    def _take_credit(self, token: str) -> Headed | None:
        if self.credits.get(token, 0) < self.price:
            return self._402("credit_refused")
        self.credits[token] -= self.price
        return None

    def _check(self, payment: dict[str, Any]) -> None:
        offered = self.offered
        assert payment["x402Version"] == 2
        assert payment["accepted"] == offered.requirement
        inner = json.dumps(payment["payload"]).encode()
        now, amount = UnixMs(int(time.time() * 1000)), MicroUsd(self.price)
        if self.chain is Chain.MONAD:
            payer = EvmAuthorizations().read(inner, offered, amount, now).payer
            said, signature = payment["payload"]["authorization"], payment["payload"]["signature"]
            signer = Account.recover_message(evm_message(offered.requirement, said), signature=signature)
            assert signer.lower() == payer, "the signature is the payer's"
        else:
            payer = SolanaAuthorizations(DurationMs(45_000)).read(inner, offered, amount, now).payer
        self.payments.append(payment["payload"])
        self.payers.append(payer)

    def _402(self, code: str) -> Headed:
        wanted = self.offer(dict(self.offered.requirement))
        required = {
            "x402Version": 2,
            "error": code,
            "resource": json.loads(self.offered.offer.resource),
            "accepts": wanted if isinstance(wanted, list) else [wanted],
        }
        return Headed(refused(402, code, message="Pay."), {"PAYMENT-REQUIRED": as_header(required)})


def paid_answer(
    answer: Answer, state: str = "settled", *, chain: Chain, token: str | None = None, **payment: Any
) -> Answer:
    """An answer about a job, with its payment."""
    said = {
        "state": state,
        "amount": PRICE,
        "network": NETWORKS[chain].caip2,
        "payer": "0xabc",
        "transaction_ref": "0xfeed" if state in ("settled", "credited") else None,
    } | payment
    if token is not None:
        said["credit_token"] = token
    text = answer[1][:-1] + b',"payment":' + json.dumps(said).encode() + b"}"
    return answer[0], text


def failed_paid(state: str, *, chain: Chain, token: str | None = None, **payment: Any) -> Answer:
    """A job that failed at its workers, and its payment."""
    failed = job_answer("failed", b'{"error":"attempts_exhausted"}', job_id=JOB_ID)
    return paid_answer(failed, state, chain=chain, token=token, **payment)
