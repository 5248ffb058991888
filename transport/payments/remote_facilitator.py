"""A facilitator that is reached over HTTP (x402 v2): ``/verify``, ``/settle`` and ``/supported``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from compute_router.actors.clock import SteadyMs
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.errors import PaymentsUnavailableError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import Payment, Refused, Settled, Unknown, Verified
from compute_router.transport.payments import facilitator_answers
from compute_router.transport.payments.breaker import Breaker
from compute_router.transport.payments.peer import NoAnswerError, Peer, TooSlowError

logger = logging.getLogger(__name__)

_LARGEST_ANSWER: Final = 256 * 1024
_CONNECTIONS: Final = 64
_KIND_LIVES_MS: Final = 300_000
_ANSWERED_LIVES_MS: Final = 1_000
_TOO_MANY_REQUESTS: Final = 429


class Patience(msgspec.Struct, frozen=True):
    """How long a facilitator may take, in seconds, and how often it is asked what may be asked twice.

    ``settle`` must be less than the ``settle_timeout`` of the policy: who gives up first counts the silence.
    """

    verify: float = 5.0
    settle: float = PaymentPolicy().answer_timeout / 1000
    supported: float = 5.0
    tries: int = 3
    pause: float = 0.1


class _UnwellError(NoAnswerError):
    """It answers that it cannot do its work now, and why, in a sentence."""

    code = "facilitator_unwell"


class RemoteFacilitator:
    """Implements :class:`~compute_router.actors.payment_ports.Facilitator` over HTTP.

    ``verify`` and ``supported`` change nothing and are repeated when no answer comes. ``settle`` moves money
    and is sent once, whatever happens.
    """

    def __init__(
        self,
        url: str,
        chain: Chain,
        now: Callable[[], SteadyMs],
        patience: Patience | None = None,
        *,
        secret: str | None = None,
    ) -> None:
        """``secret`` is what a facilitator of our own wants to hear with each question."""
        self.url = url.rstrip("/")
        self._chain = chain
        self._network = NETWORKS[chain].caip2
        self._now = now
        self._patience = patience or Patience()
        self._breaker = Breaker(now)
        self._fee_payer: str | None = None
        self._fee_payer_until = 0
        self._answered = False
        self._answered_until = 0
        self._asking = asyncio.Lock()
        self.in_doubt = asyncio.Event()
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        # Apart, so that no number of payments that are checked keeps a settlement waiting.
        self._checking = Peer(connections=_CONNECTIONS, largest_answer=_LARGEST_ANSWER, headers=headers)
        self._peer = Peer(connections=_CONNECTIONS, largest_answer=_LARGEST_ANSWER, headers=headers)

    async def close(self) -> None:
        """Give up the connections."""
        await self._peer.close()
        await self._checking.close()

    def check_available(self) -> None:
        """Whether it makes sense to ask for a payment now.

        Raises:
            PaymentsUnavailableError: the facilitator is down, and will not be asked for a while.
        """
        if self._breaker.wait_ms:
            raise self._unavailable()

    async def fee_payer(self) -> str | None:
        """The account that pays for transactions; None where none is named, as on EVM chains.

        Raises:
            PaymentsUnavailableError: the facilitator does not say.
        """
        if self._fee_payer is None or self._now() >= self._fee_payer_until:
            problem = await self._learn()
            if problem is not None:
                raise self._unavailable()
        return self._fee_payer or None

    async def verify(self, payload: bytes, requirements: bytes) -> Verified | Refused:
        """Whether an authorization could be settled now.

        Raises:
            PaymentsUnavailableError: no facilitator says so or otherwise.
        """
        if not self._breaker.take_turn():
            raise self._unavailable()
        is_trial = self._breaker.is_tried
        try:
            return await self._verify(_asked(payload, requirements))
        except asyncio.CancelledError:
            if is_trial:
                self._breaker.give_back()
            raise

    async def _verify(self, asked: bytes) -> Verified | Refused:
        for attempt in range(self._patience.tries):
            if attempt:
                await self._pause(attempt)
            overloaded = False
            try:
                status, body = await self._checking.ask(
                    "POST", self.url + "/verify", asked, self._patience.verify
                )
            except TooSlowError as error:
                problem = str(error)
                break
            except NoAnswerError as error:
                problem = str(error)
                continue
            answer = None if _is_trouble(status) else facilitator_answers.verified(body)
            if answer is not None and (status == 200 or isinstance(answer, Refused)):
                self._breaker.succeeded()
                return answer
            problem = f"an answer that cannot be used, status {status}"
            overloaded = status == _TOO_MANY_REQUESTS
            if not overloaded:
                break
        logger.warning("the facilitator did not verify a payment: %s", problem)
        self.in_doubt.set()
        # It may be only this payment that it cannot check: that is no reason to refuse those of others.
        if overloaded or not await self._answers_others():
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        raise self._unavailable()

    async def settle(self, payment: Payment) -> Settled | Refused | Unknown:
        """Have the money moved. Sent once: whatever is not a clear answer is ``Unknown`` without a code."""
        try:
            outcome = await self._settle(payment)
        except asyncio.CancelledError:
            # Whoever asked has given up before we did, which is silence, too.
            self._breaker.failed()
            raise
        if isinstance(outcome, Unknown) and outcome.code is None:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        return outcome

    async def _settle(self, payment: Payment) -> Settled | Refused | Unknown:
        body = _asked(payment.payload, payment.requirements)
        try:
            status, answer = await self._once("POST", "/settle", body, self._patience.settle)
        except NoAnswerError as error:
            return Unknown(str(error))
        outcome = facilitator_answers.settled(answer, payment, self._chain)
        if _is_trouble(status) or (status != 200 and isinstance(outcome, Settled)):
            return Unknown(f"status {status}")
        return outcome

    async def healthy(self) -> str | None:
        """None, or what is wrong with it. What it says opens and closes the way for commits."""
        problem = await self._learn()
        if problem is None:
            self._breaker.succeeded()
        else:
            self._breaker.trip()
        return problem

    async def _learn(self, tries: int | None = None) -> str | None:
        try:
            status, body = await self._patiently("/supported", tries or self._patience.tries)
        except _UnwellError as error:
            return f"The facilitator {self.url} settles no payments now: {error}"
        except NoAnswerError as error:
            return f"The facilitator {self.url} does not answer: {error}."
        fee_payer = facilitator_answers.fee_payer(body, self._network, self._fee_payer)
        if status != 200 or fee_payer is None or (self._chain is Chain.SOLANA and not fee_payer):
            return f"The facilitator {self.url} does not serve exact payments on {self._network}."
        self._fee_payer = fee_payer
        self._fee_payer_until = self._now() + _KIND_LIVES_MS
        return None

    async def _answers_others(self) -> bool:
        """Whether it answers what has nothing to do with any payment. Asked once for all who want to know."""
        async with self._asking:
            if self._now() >= self._answered_until:
                self._answered = await self._learn(tries=1) is None
                self._answered_until = self._now() + _ANSWERED_LIVES_MS
            return self._answered

    async def _patiently(self, path: str, tries: int) -> tuple[int, bytes]:
        """Ask what may be asked twice. That it is overloaded or broken counts as no answer."""
        problem = NoAnswerError("not asked")
        for attempt in range(tries):
            if attempt:
                await self._pause(attempt)
            try:
                status, answer = await self._once("GET", path, None, self._patience.supported)
            except NoAnswerError as error:
                problem = error
                continue
            if not _is_trouble(status):
                return status, answer
            own = facilitator_answers.own_words(answer)
            problem = NoAnswerError(f"status {status}") if own is None else _UnwellError(own)
        raise problem

    async def _pause(self, attempt: int) -> None:
        await asyncio.sleep(self._patience.pause * 2 ** (attempt - 1))

    async def _once(self, method: str, path: str, body: bytes | None, seconds: float) -> tuple[int, bytes]:
        return await self._peer.ask(method, self.url + path, body, seconds)

    def _unavailable(self) -> PaymentsUnavailableError:
        seconds = max(-(-self._breaker.wait_ms // 1000), 1)
        return PaymentsUnavailableError("Payments cannot be checked at the moment; try again.", seconds)


def _is_trouble(status: int) -> bool:
    return status >= 500 or status == _TOO_MANY_REQUESTS


def _asked(payload: bytes, requirements: bytes) -> bytes:
    asked = {
        "x402Version": 2,
        "paymentPayload": msgspec.Raw(payload),
        "paymentRequirements": msgspec.Raw(requirements),
    }
    return msgspec.json.encode(asked)
