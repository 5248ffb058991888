"""Getting a paid job to the coordinator: 402, a look at the offer, one signature, and the same commit again.

A commit has one payment. It is remembered under the commit's idempotency key before it is sent, and whatever
happens then, nothing else is ever sent for that commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import msgspec

from compute_router.protocol import errors as protocol_errors
from compute_router.protocol.errors import (
    CreditRefusedError,
    IdempotencyConflictError,
    PaymentMalformedError,
    QuoteRefusedError,
)
from compute_router.protocol.jobs import JobType
from compute_router.protocol.networks import NETWORKS
from compute_router.protocol.payment_offer import PAYMENT_HEADER, QUOTE_HEADER
from compute_router.protocol.payments import CREDIT_HEADER
from compute_router.protocol.receipts import sha256_hex
from compute_router.protocol.units import format_usd
from compute_router.sdk.answers import Quote, error_code, refusal
from compute_router.sdk.credits import Credits, softly
from compute_router.sdk.errors import (
    CoordinatorFailedError,
    PaymentRefusedError,
    PaymentRequiredError,
    PriceMismatchError,
    SubmissionUnknownError,
    UnacceptableOfferError,
    WalletError,
)
from compute_router.sdk.payment_offers import Offer, asks_for_payment, payment_header, read_offer
from compute_router.sdk.purse_file import PurseFile, SentPayment
from compute_router.sdk.recipient import Recipient
from compute_router.sdk.retries import Retries
from compute_router.sdk.spending import PaymentPlan, Spending
from compute_router.sdk.steps import Answered, Call, Flow, local
from compute_router.sdk.submission import commit
from compute_router.sdk.wallet import Wallet

_CREATED: Final = 201
_PAYMENT_REQUIRED: Final = 402
# Chains have many words for an account that is empty or not there yet.
_MAY_BE_POOR: Final = frozenset({"insufficient_funds", protocol_errors.PaymentRefusedError.code})

_NEVER_ALIVE: Final = 0.0
"""A credit signs for nothing that somebody could carry out."""

_DIES_LATER_S: Final = 180.0
"""How long after its end a payment may still be carried out: clocks differ, and blockhashes live longer."""


class Order(msgspec.Struct, frozen=True):
    """A commit that may have to be paid for.

    ``named``: its idempotency key is the caller's own, so that another program may make it again.
    """

    request: Call
    quote: Quote
    job_type: JobType
    named: bool
    keys_are_kept: bool

    @property
    def key(self) -> str:
        """The idempotency key."""
        assert self.request.idempotency_key is not None, "every commit has a key"
        return self.request.idempotency_key

    @property
    def fingerprint(self) -> str:
        """What tells this commit from others."""
        return sha256_hex(self.request.path.encode() + b"\n" + (self.request.body or b""))


class Payer:
    """Pays one coordinator, from a wallet or from credits. One per client; threads may share it."""

    def __init__(
        self,
        *,
        wallet: Wallet | None,
        spending: Spending,
        purse: PurseFile,
        request_timeout_s: float,
        now_s: Callable[[], float],
    ) -> None:
        self.spending = spending
        self.purse = purse
        self.credits = Credits(purse, request_timeout_s, now_s)
        self._wallet = wallet
        self._now_s = now_s
        self._recipient = Recipient()
        self._lock = threading.Lock()
        # Every payment that this client may send once more, and all of them are counted.
        self._sent: dict[str, SentPayment] = {}

    def commit(self, order: Order, retries: Retries) -> Flow[Answered]:
        """Send a job until the coordinator decided about it, and pay for it if it asks for that.

        Raises:
            PaymentRequiredError: there is nothing here to pay with.
            UnacceptableOfferError: it asks for what is not signed.
            PriceMismatchError: it asks for more than it quoted.
            SpendingCapError: the job is too dear.
            PaymentRefusedError: the coordinator did not take the payment, or ``before_payment`` said no.
            WalletError: the wallet or the purse cannot be used.
            ComputeRouterError: as :func:`~compute_router.sdk.submission.commit`.
        """
        try:
            return (yield from self._commit(order, retries))
        except CoordinatorFailedError as error:
            if order.quote.signed_quote is None:
                raise
            # Of a key that the caller named an earlier submission may have paid.
            nothing = "This attempt paid nothing." if order.named else "Nothing was paid."
            sentence = f"{error} {nothing}"
            raise type(error)(sentence, error.status, error.reason, error.retry_after_s) from None

    def _commit(self, order: Order, retries: Retries) -> Flow[Answered]:
        signed_quote = order.quote.signed_quote
        if signed_quote is not None:
            order = _with(order, QUOTE_HEADER, signed_quote)
            sent = yield from self._sent_before(order)
            if sent is not None:
                return (yield from self._send(order, sent, retries))
        answer = yield from commit(order.request, retries, keys_are_kept=order.keys_are_kept)
        if not asks_for_payment(answer):
            yield from self.credits.committed(answer, None, None, paid=False)
            return answer
        retries.succeeded()
        if error_code(answer) == QuoteRefusedError.code:
            _refused(answer)
        offer = read_offer(answer, order.quote.network)
        if offer.amount > order.quote.price:
            raise PriceMismatchError(
                f"The coordinator quoted {format_usd(order.quote.price)} and now asks for"
                f" {format_usd(offer.amount)}. Nothing was signed.",
                order.quote.price,
                offer.amount,
            )
        self.spending.check_job(offer.amount)
        yield from self.credits.collect(retries)
        by_credit = yield from self._by_credit(order, offer, retries)
        if by_credit is not None:
            return by_credit
        # Again: another thread or program may have signed for this very commit meanwhile.
        sent = yield from self._sent_before(order)
        if sent is None:
            sent = yield from self._pay(self._usable_wallet(offer), order, offer)
        return (yield from self._send(order, sent, retries))

    def _by_credit(self, order: Order, offer: Offer, retries: Retries) -> Flow[Answered | None]:
        """Pay with a credit; None if there is none that covers the price."""
        asked = False
        while True:
            token = yield from local(lambda: self.purse.credit_for(offer.amount))
            if token is None:
                return None
            if not asked:
                yield from local(lambda: self.spending.ask(self._plan(order, offer, by_credit=True)))
                asked = True
            paid = _with(order, CREDIT_HEADER, token)
            answer = yield from commit(paid.request, retries, keys_are_kept=order.keys_are_kept)
            if answer.status == _CREATED:
                yield from softly(partial(self.purse.spend_credit, token, offer.amount))
                yield from self.credits.committed(answer, offer.amount, _NEVER_ALIVE, paid=True)
                return answer
            if error_code(answer) != CreditRefusedError.code:
                return _unless_refused(answer)
            yield from local(partial(self.purse.credit_was_short, token, offer.amount))

    def _usable_wallet(self, offer: Offer) -> Wallet:
        price, label, name = format_usd(offer.amount), NETWORKS[offer.chain].label, offer.chain.value
        if self._wallet is None:
            raise PaymentRequiredError(
                f"This job costs {price} in USDC on {label}, and there is no wallet to pay it from. Give"
                " ComputeRouter(wallet=PATH), --wallet PATH or COMPUTE_ROUTER_WALLET; make a wallet by:"
                f" compute-router wallet create --chain {name}"
            )
        if self._wallet.chain is not offer.chain:
            raise PaymentRequiredError(
                f"This job costs {price} in USDC on {label}, and the wallet is one of"
                f" {NETWORKS[self._wallet.chain].label}. Give another wallet, or use another coordinator."
            )
        return self._wallet

    def _pay(self, wallet: Wallet, order: Order, offer: Offer) -> Flow[SentPayment]:
        """Sign the one payment of a commit, and remember it."""
        self._recipient.check(offer.pay_to)
        self.spending.check_session(offer.amount)
        yield from local(lambda: self.spending.ask(self._plan(order, offer, by_credit=False)))
        # One step, for a task that is cancelled ends between steps, and what was signed has to be counted.
        sent = yield from local(lambda: self._signed(wallet, order, offer))
        return _for_this(order, sent)

    def _signed(self, wallet: Wallet, order: Order, offer: Offer) -> SentPayment:
        """The payment of a commit: counted, and kept where a repeat of the commit finds it."""
        if offer.requirement["extra"].get("feePayer") == wallet.address:
            raise UnacceptableOfferError("The coordinator wants the payer to pay fees. Nothing was signed.")
        self._recipient.hold(offer.pay_to)
        try:
            sent = self._counted(wallet, order, offer)
        except Exception:
            self._recipient.not_signed()
            raise
        self._recipient.signed()
        if not order.named:
            return sent
        try:
            first = self.purse.put_payment(order.key, sent)
        except WalletError:
            # Neither here nor in the purse, so that nobody can ever send it.
            self.spending.give_back(offer.amount)
            raise
        # Another thread may have put this very payment into the purse, so identity says nothing.
        if first.payment != sent.payment:
            self.spending.give_back(offer.amount)
        self._keep(order.key, first)
        return first

    def _counted(self, wallet: Wallet, order: Order, offer: Offer) -> SentPayment:
        """Count a payment, then sign it. What ends a program in between leaves it counted."""
        self.spending.take(offer.amount)
        try:
            signed_at = self._now_s()
            name, text = payment_header(offer, wallet.sign(offer.requirement))
        except Exception:
            self.spending.give_back(offer.amount)
            raise
        assert name == PAYMENT_HEADER, "payments go into one header"
        return SentPayment(order.fingerprint, text, offer.amount, signed_at + offer.lives_s + _DIES_LATER_S)

    def _keep(self, key: str, sent: SentPayment) -> None:
        with self._lock:
            now = self._now_s()
            self._sent = {each: kept for each, kept in self._sent.items() if kept.dies_at > now}
            self._sent[key] = sent

    def _sent_before(self, order: Order) -> Flow[SentPayment | None]:
        """The payment that was signed for this very commit, by this client or by another program."""
        sent = self._sent.get(order.key)
        if sent is None and order.named:
            sent = yield from local(lambda: self.purse.payment(order.key))
        if sent is None or sent.dies_at <= self._now_s():
            return None
        return _for_this(order, sent)

    def _send(self, order: Order, sent: SentPayment, retries: Retries) -> Flow[Answered]:
        paid = _with(order, PAYMENT_HEADER, sent.payment)
        try:
            answer = yield from commit(paid.request, retries, keys_are_kept=order.keys_are_kept)
        except SubmissionUnknownError:
            # Its key is told to the caller, so he or another program may make this commit again.
            self._keep(order.key, sent)
            yield from softly(lambda: self.purse.put_payment(order.key, sent))
            raise
        yield from self.credits.committed(_unless_refused(answer), sent.amount, sent.dies_at, paid=True)
        return answer

    def _plan(self, order: Order, offer: Offer, *, by_credit: bool) -> PaymentPlan:
        network = order.quote.network
        return PaymentPlan(
            order.job_type, offer.amount, network, offer.pay_to, by_credit, self.spending.spent
        )


def _with(order: Order, name: str, value: str) -> Order:
    """The same commit with one header more."""
    request = msgspec.structs.replace(order.request, headers=(*order.request.headers, (name, value)))
    return msgspec.structs.replace(order, request=request)


def _for_this(order: Order, sent: SentPayment) -> SentPayment:
    if sent.request != order.fingerprint:
        raise IdempotencyConflictError("This idempotency key was used to pay for another job.")
    return sent


def _unless_refused(answer: Answered) -> Answered:
    if answer.status == _PAYMENT_REQUIRED or error_code(answer) == PaymentMalformedError.code:
        _refused(answer)
    return answer


def _refused(answer: Answered) -> NoReturn:
    sentence, code = str(refusal(answer)), error_code(answer)
    hint = " See what the wallet has: compute-router wallet balance" if code in _MAY_BE_POOR else ""
    raise PaymentRefusedError(f"The coordinator did not take the payment: {sentence}{hint}", code)
